// Package http1 reads the heads and chunks of HTTP/1.x messages (RFC 9112) in place: what it finds are slices of the
// bytes that it was given, nothing is copied and nothing allocated once a message's list of fields has grown.
//
// It is strict. A message that RFC 9112 lets a recipient reject, because two recipients could disagree on what it means
// or where it ends, is rejected: Content-Length with Transfer-Encoding, more than one Content-Length, codings other than
// chunked, bare CR or LF, folded lines, space around a field's name, control characters, a missing or second Host. It
// never guesses.
//
// It does no I/O, owns no goroutine, and keeps nothing between calls but what the caller's own values hold.
package http1
