// Package topview is the face of `banyan top` and `banyan status`: a table of services, routes and edges with their
// load, latency, errors and use of the machine.
//
// Model is the live view, a bubbletea model that asks for an observe.Status at an interval; RenderTable is the same
// table once, as plain text. What is drawn depends on the Model alone, never on a clock, so that it can be compared with
// golden files.
//
// Colour only repeats what the text says, so nothing is lost with NO_COLOR. The package reads no environment and owns no
// goroutine: bubbletea runs the fetches, each of which ends within fetchTimeout.
package topview
