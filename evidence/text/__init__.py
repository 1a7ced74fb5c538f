"""Tables made out of texts that packages carry: definitions, notices, user interfaces, documentation."""
