"""What trains: full, partial, LoRA, QLoRA and the rest of the PEFT family, behind one small protocol."""
