// Package backup is the file that a bus is copied to: a row of frames, each with a checksum, and at the end a checksum of all.
//
// Writer and Reader hold one frame at a time, however large the file is. A Reader promises: what it hands out is what the Writer
// was given, and Next returns io.EOF only behind the end that the Writer wrote, after which nothing follows; a file that was cut
// off, damaged or added to is ErrDamaged.
package backup
