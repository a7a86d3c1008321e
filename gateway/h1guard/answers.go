package h1guard

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/banyanhq/banyan/gateway/http1"
)

// Answers is a guarded connection to a backend, for a client that sends the next request when the answer to the one before
// has ended. Read is called by one goroutine at a time; Ask by any, before a request is written.
type Answers struct {
	flow
	answer http1.Response
	asked  atomic.Uint32
	due    bool // the answer to the last request has not come whole
	bare   bool // it has a head alone, for that request was a HEAD
}

// What was asked since the last answer began.
const (
	nothing uint32 = iota
	something
	aHead
)

// Answering returns the connection to a backend with a guard before it, which bounds heads in bytes.
func Answering(c net.Conn, maxHeader int) *Answers {
	a := &Answers{flow: flow{Conn: c, maxHeader: maxHeader}}
	a.side = a
	return a
}

// Ask says that a request of the method is about to be written. What comes while nothing was asked, or beyond the end of an
// answer, is taken for the end of the connection: it must not become the answer to somebody else's request.
func (a *Answers) Ask(method string) {
	if method == http.MethodHead {
		a.asked.Store(aHead)
	} else {
		a.asked.Store(something)
	}
}

// Read implements net.Conn. The end of the connection is told with the last bytes, so that the client does not keep it.
func (a *Answers) Read(p []byte) (int, error) {
	n, err := a.flow.Read(p)
	if err == nil && a.state == over && a.good == 0 && len(a.poison) == 0 {
		err = a.failed
	}
	return n, err
}

func (a *Answers) head(b []byte) int {
	if !a.due {
		asked := a.asked.Swap(nothing)
		if asked == nothing {
			a.end(io.EOF)
			return 0
		}
		a.due, a.bare = true, asked == aHead
	}
	if len(b) <= a.maxHeader && !http1.Whole(b, a.scanned) {
		a.scanned = len(b)
		return 0
	}
	n, err := a.answer.Parse(b[:min(len(b), a.maxHeader)])
	if n == 0 {
		if a.scanned = len(b); err != nil || len(b) > a.maxHeader {
			a.end(errAfter)
			a.poison = []byte("refused\r\n\r\n")
		}
		return 0
	}
	a.scanned = 0
	r := &a.answer
	switch {
	case r.Status == http.StatusSwitchingProtocols:
		a.state = raw
	case r.Status < 200: // another one follows
	case a.bare, r.Status == http.StatusNoContent, r.Status == http.StatusNotModified:
		a.state = a.after()
	case !r.Chunked && r.Length < 0:
		a.state = raw
	default:
		a.state = a.body(r.Chunked, r.Length)
	}
	if r.Close && r.Nominates {
		n = a.dropNominated(b, n)
	}
	return n
}

// dropNominated takes the fields that Connection names out of the head of n bytes at the start of b, and returns its new
// size. Go's client hides the names where Connection says 'close'.
func (a *Answers) dropNominated(b []byte, n int) int {
	drop := make([]bool, len(a.answer.Fields))
	for i, f := range a.answer.Fields {
		switch f.Known {
		case http1.Connection, http1.ContentLength, http1.TransferEncoding:
		default:
			drop[i] = a.answer.Nominated(f.Name)
		}
	}
	at := bytes.IndexByte(b, '\n') + 1 // how far it was read
	kept := at
	for _, out := range drop {
		line := b[at : at+bytes.IndexByte(b[at:], '\n')+1]
		if at += len(line); !out {
			kept += copy(b[kept:], line)
		}
	}
	rest := copy(b[kept:], b[at:])
	a.buf = a.buf[:a.good+kept+rest]
	return kept + n - at
}

func (a *Answers) after() state {
	a.due = false
	return atHead
}

func (a *Answers) waits() {}
