// Package disk is the folder that a cache keeps its files in, as a seam: Folder is one of the machine, Dying is its
// twin in memory, which forgets what was not synced when the machine dies, and fails when it is told to.
package disk
