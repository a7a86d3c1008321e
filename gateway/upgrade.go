package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// upgrade joins the client's connection with the backend's, which has agreed to go over to another protocol, until both
// directions have ended, one has failed, or the gateway stops.
func (c *call) upgrade(res *http.Response) (f fault, passed bool) {
	backend, ok := res.Body.(io.ReadWriteCloser)
	if !ok || c.upgrading == "" || !strings.EqualFold(upgradeOf(res.Header), c.upgrading) {
		return fault{kind: protocolError, detail: "the backend went over to another protocol unasked"}, false
	}
	t := c.tunnel()
	if t != nil && res.Header.Get(headerAccept) != t.accept {
		return fault{kind: protocolError, detail: "the backend answered another key than the one that it was given"}, false
	}
	hijacker, ok := c.w.ResponseWriter.(http.Hijacker)
	if !ok && t == nil {
		return fault{kind: internalError, detail: "this connection cannot be taken over"}, false
	}
	c.endless()
	c.timer.Stop()
	c.tell(c.headAt, c.outcome) // what is spoken from here on is not HTTP's, and its end tells nothing
	if t != nil {
		t.stream(c, res, backend)
		return fault{}, true
	}
	conn, brw, err := hijacker.Hijack()
	if err != nil {
		return fault{kind: clientClosed, detail: "the client went away"}, true
	}
	c.stream = nil // a body that was not read is part of what the protocol says
	defer c.target.side(c.g).conns.open.Done()
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{}) // fails only on a closed connection, as the next write then does

	h := http.Header{}
	c.copyAnswerHeader(h, res.Header)
	c.bind(h)
	delete(h, "Content-Type")
	if ct, ok := res.Header["Content-Type"]; ok {
		h["Content-Type"] = ct
	}
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgradeOf(res.Header)}
	head := http.Response{StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: h}
	if head.Write(brw) != nil || brw.Flush() != nil {
		return fault{kind: clientClosed, detail: "the client went away"}, true
	}

	// The context of a connection that was taken over says no more when the client leaves; from here on it is the end
	// of either stream that counts, and the gateway's own stop.
	c.join(brw.Reader, conn, backend, func(bool) { _ = conn.Close() })
	return fault{}, true
}

// join copies both directions until both have ended, one has failed, or the gateway stops; then cut, which is told whether it is
// the last, ends what waits for the client. When it returns, nothing of it goes on.
func (c *call) join(in io.Reader, out io.Writer, backend io.ReadWriteCloser, cut func(stopping bool)) {
	joined, end := context.WithCancelCause(context.Background())
	defer end(errFinished)
	stop := c.g.stopWith(end)
	defer stop()
	ended := make(chan struct{})
	unhook := context.AfterFunc(joined, func() {
		defer close(ended)
		cut(errors.Is(context.Cause(joined), errStopping))
		_ = backend.Close()
	})
	up := make(chan struct{})
	go func() {
		defer close(up)
		pump(joined, backend, in, end)
	}()
	pump(joined, out, backend, end)
	<-up
	if !unhook() {
		<-ended
	}
}

// lingerTime is how long one direction may go on after the other has ended.
const lingerTime = time.Minute

// pump copies one direction. When it ends well, the other side learns that no more will come, if its connection can
// say so, and has a while to end too; otherwise both are closed.
func pump(joined context.Context, dst io.Writer, src io.Reader, end context.CancelCauseFunc) {
	if r, ok := src.(*bufio.Reader); ok {
		src = struct{ io.Reader }{r}
	}
	buf := buffers.Get().(*[holdSize]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, src, buf[:])
	if half, ok := dst.(interface{ CloseWrite() error }); err == nil && ok && half.CloseWrite() == nil {
		timer := time.AfterFunc(lingerTime, func() { end(net.ErrClosed) })
		context.AfterFunc(joined, func() { timer.Stop() })
		return
	}
	end(net.ErrClosed)
}
