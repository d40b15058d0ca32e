"""`moca bench`: how fast, and in how much memory, the program does its work on this machine."""
