"""How long answers may be: what may be asked for, what limit goes out, and how much of it is held."""
