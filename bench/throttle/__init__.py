"""How the sender finds the speed of a receiver: in virtual time, and over real sockets."""
