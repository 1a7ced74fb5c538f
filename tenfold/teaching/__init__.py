"""What a teacher gives to a student: its own likely tokens, its states, its answers; and how a student is made."""
