// Package workflow runs sagas: it keeps the runs of the package policy/saga in a journal of its own, and makes the attempts
// that they ask for.
//
// It promises: a run that was acknowledged goes on after any crash; what begins an attempt is on disk before the attempt is
// made, and its outcome before the next step is begun; two starts with one key are one run, as long as it is remembered.
// After a crash an attempt whose outcome is not known is made again with the same key, so whoever is asked must know keys
// that it has seen.
//
// Runs are held in memory and bounded in number and bytes; what ended is forgotten after the saga's retention. One process
// at a time has a directory. Open reads the journal; Run owns every goroutine and waits for all of them.
package workflow
