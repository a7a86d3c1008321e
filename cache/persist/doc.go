// Package persist keeps changes of a cache in a file: what was written and synced is there after a crash, what was written
// and not synced may be there up to some point, and what is damaged is never taken for something else.
//
// A file is a head and frames. Each frame carries a checksum over its bytes, its place and the file's random number, so
// that no frame of another file, of another place, or within somebody's data is taken for one. It also says up to where the
// file had been synced when the frame was written. That tells a torn end, which every crash may leave and which is cut off,
// from damage of what was safe, which is refused: a frame that is broken is damage if a later one says that it was synced.
//
// A file is replaced by writing another beside it, syncing that, and renaming it. The package starts no goroutines; a Log is
// for one caller at a time, but for Sync.
package persist
