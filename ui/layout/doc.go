// Package layout draws the architecture of a system: who calls whom, in columns from the clients to the stores.
//
// Of makes a Graph of a topology, Compute gives every node its place and every edge its way, SVG and Text draw the
// result. The page draws the same Layout with its figures, so that map, terminal and documents show one picture.
//
// What it promises: the picture depends on the graph alone, not on the order in which it was given; nodes never overlap;
// no edge runs through a node that is not its own; everything lies within the bounds. A hundred services take
// milliseconds. The method is that of Sugiyama, Tagawa and Toda (1981): ranks, then order within ranks, then
// coordinates, long edges being bent in columns that they pass.
//
// The package is pure: it reads no clock, no file and no network, and starts no goroutine.
package layout
