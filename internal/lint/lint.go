// Package lint keeps the house in order: its test fails when a package imports from its own floor or from one above,
// when a pure package reaches for the clock, the network, files or global randomness, when a file has grown too long,
// when a package has no front door, or when a name says nothing. It holds no code that the program runs.
package lint
