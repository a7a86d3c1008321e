// Package resp is the Redis protocol as a server speaks it: commands are parsed from what a connection sent, answers are
// appended to a buffer, in version 2 or 3.
//
// Parsing takes no copy of a command: its arguments lie in the bytes that were given. A command that is not complete is
// gone on with when more has come, without looking at what there was again, so that one that comes a byte at a time costs
// no more than another. Nothing is allocated because of a length that a client only announces.
package resp
