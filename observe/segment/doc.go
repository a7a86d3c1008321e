// Package segment is an append-only store of records: an instant, the labels of the stream it came from, named fields and a
// body. Logs and traces are both kept in it.
//
// A record goes through three stages. Append writes it, with all that came at the same time, as one checksummed frame to a log
// and syncs that (group commit: a durable Append returns after the sync that covers it). It then lies in the head, in memory, where
// searches see it. When the head has grown to Config.HeadBytes, it is sealed: written, a file for each day, as segments. A segment is
// made of blocks of about a MiB of records; each block holds its columns compressed with zstd, and the segment says of each block
// which streams, instants and words (a Bloom filter) it has, so that a search reads the few blocks that may match. A manifest, which is
// replaced as a whole, names the segments that count and how far the log is sealed.
//
// What it promises:
//   - A record whose durable Append returned nil is there after a crash at any moment, once, until retention takes it.
//   - A search sees every record that was appended before it began, each once, in order of time, also while the head is sealed.
//   - Memory is bounded: two heads (the second fills while the first is sealed; then Append waits), an index of about a hundred bytes for each
//     block, a block for each core that searches, and the records that a search is asked for.
//   - Damage is found by checksums and counted; a damaged block or frame costs what was in it and nothing else.
//   - Retention by age and by bytes removes whole segments, the oldest first.
//
// What it never does: change a record, or order them by anything but time and, where that is equal, by the order of appending.
//
// Store.Run owns the goroutines; a search runs on goroutines that it waits for.
package segment
