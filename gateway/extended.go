package gateway

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"time"
)

// tunnel is the stream of a request of extended CONNECT (RFC 8441), by which WebSocket goes over HTTP/2. Backends get the
// upgrade of HTTP/1.1 that it stands for. Whether Go's server takes such requests, and says so, is for its own setting
// http2xconnect, which it reads from GODEBUG as the process starts.
type tunnel struct {
	io.ReadCloser        // what the client sends
	accept        string // what the backend has to answer the key with (RFC 6455, 4.2.2)
}

const (
	headerProtocol = ":protocol" // as Go's server has it among the headers
	webSocket      = "websocket"
	headerKey      = "Sec-Websocket-Key"
	headerAccept   = "Sec-Websocket-Accept"
	// webSocketID is what a key is hashed with (RFC 6455, 1.3).
	webSocketID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// asUpgrade returns a request of extended CONNECT for WebSocket as the upgrade that it stands for, whose body is a tunnel; any
// other request as it is.
func asUpgrade(r *http.Request) *http.Request {
	if r.ProtoMajor != 2 || r.Method != http.MethodConnect || !slices.Equal(r.Header[headerProtocol], []string{webSocket}) {
		return r
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	key := base64.StdEncoding.EncodeToString(random[:])
	out := *r
	out.Method, out.ContentLength = http.MethodGet, 0
	out.Body = &tunnel{r.Body, acceptOf(key)}
	delete(out.Header, headerProtocol)
	out.Header["Connection"], out.Header["Upgrade"], out.Header[headerKey] = []string{"Upgrade"}, []string{webSocket}, []string{key}
	return &out
}

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + webSocketID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tunnel returns the stream of an extended CONNECT; nil: the request is another.
func (c *call) tunnel() *tunnel {
	t, _ := c.r.Body.(*tunnel)
	return t
}

var (
	// notSpoken is no failure of the backend's: whoever likes can ask for WebSocket where there is none.
	notSpoken  = fault{kind: requestError, status: http.StatusNotImplemented, detail: "what answers here does not speak WebSocket"}
	noUpgrades = fault{kind: requestError, status: http.StatusNotImplemented, detail: "the replicas of the service are called by HTTP/2, over which WebSocket is not passed on"}
)

// stream joins the client's stream with the connection of a backend that has agreed to speak WebSocket.
func (t *tunnel) stream(c *call, res *http.Response, backend io.ReadWriteCloser) {
	rc := http.NewResponseController(c.w)
	_ = rc.SetReadDeadline(time.Time{}) // fail only on a stream that has ended, as all that follows then does
	_ = rc.SetWriteDeadline(time.Time{})
	h := c.w.Header()
	c.copyAnswerHeader(h, res.Header)
	c.bind(h)
	delete(h, headerAccept) // it is HTTP/1.1's (RFC 8441, 5)
	c.w.WriteHeader(http.StatusOK)
	c.flush()
	c.join(t, flushing{c}, backend, func(stopping bool) {
		_ = t.Close()
		if stopping {
			_ = rc.SetWriteDeadline(time.Unix(1, 0)) // ends a write that waits, and resets the stream
		}
	})
}

// flushing sends what is written at once.
type flushing struct{ c *call }

func (w flushing) Write(p []byte) (int, error) {
	n, err := w.c.w.Write(p)
	w.c.flush()
	return n, err
}
