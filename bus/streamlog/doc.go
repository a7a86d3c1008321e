// Package streamlog keeps the journal of queues as a replicated stream of JetStream, so that it outlives a node.
//
// It is for one writer at a time, the node that leads the stream. Records that gather while a frame is on its way go into the
// next frame, so that many of them share one round between the nodes and one sync of their disks. One frame is on its way
// at once.
//
// It promises: a record whose Done was called without an error is on the disks of most nodes, behind all that was appended
// before it, and every later Open finds it. Each frame says behind which frame it stands; one that stands elsewhere does not
// count, for any reader. So a writer that was taken for dead and comes back can't add anything: the frame by which its
// successor began is in its way. A frame of which it is not known whether it was stored ends the Log: Failed says so,
// everything is refused, and the next Open finds out.
//
// A Log owns one goroutine, which Close ends.
package streamlog
