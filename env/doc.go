// Package env holds the seams through which time, chance, the network and the disk reach a program that must be tested
// against their faults, and the simulated twins of these: a World whose clock moves only from event to event, a Network
// that delays, loses, doubles and reorders what it carries and can be cut in one direction or both, and a Disk that
// forgets at a crash whatever was not synced.
//
// It promises: the same seed and the same calls give the same run, bit for bit, and Trace proves it. All of it runs on
// the goroutine that calls World.Run; nothing here starts a goroutine, reads the real clock or waits.
//
// A program takes part by being written as a step function: events and an instant in, effects out. Whether the effects
// are carried out by this package or by the operating system, it cannot tell.
package env
