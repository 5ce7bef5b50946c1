"""Networks from files: texts of the language, and the formats of others, in and out."""
