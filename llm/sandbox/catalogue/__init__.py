"""What other servers answer, as data: a text file for each behaviour, by the protocol it speaks; see README.md."""
