package monitor

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// oneConnection is a listener with one connection on it.
type oneConnection struct {
	connections chan net.Conn
	ended       chan struct{}
}

func (l *oneConnection) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *oneConnection) Close() error {
	close(l.ended)
	return nil
}

func (l *oneConnection) Addr() net.Addr { return &net.TCPAddr{} }

// A body that stops is given up after a while; one that has come may be worked on for as long as it takes.
func TestBodiesAreTimely(t *testing.T) {
	for _, c := range []struct {
		name, request string
		want          error
	}{
		{"stops", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc", os.ErrDeadlineExceeded},
		{"whole", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", nil},
		{"refused", "POST / HTTP/1.1\r\nHost: x\r\nRefuse: yes\r\nContent-Length: 1000000000\r\n\r\nabc", nil},
		{"none", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				server := &http.Server{Handler: Timely(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Refuse") != "" {
						return // unread, which must not be waited for
					}
					if _, err := io.ReadAll(r.Body); !errors.Is(err, c.want) {
						t.Errorf("reading it: %v, want %v", err, c.want)
					}
					if took := time.Since(begin); c.want != nil && took != bodyTime || c.want == nil && took > 0 {
						t.Errorf("it took %v", took)
					}
					time.Sleep(3 * bodyTime)
					if err := r.Context().Err(); c.want == nil && err != nil {
						t.Errorf("the work on it was broken off: %v", err)
					}
				}))}
				l := &oneConnection{connections: make(chan net.Conn, 1), ended: make(chan struct{})}
				ours, theirs := net.Pipe()
				l.connections <- theirs
				ended := make(chan error, 1)
				go func() { ended <- server.Serve(l) }()
				if _, err := io.WriteString(ours, c.request); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(ours), nil)
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); c.name == "refused" && took > 0 {
					t.Errorf("it was refused after %v", took)
				}
				resp.Body.Close()
				ours.Close()
				if err := server.Shutdown(t.Context()); err != nil { // it waits for the connection's end
					t.Error(err)
				}
				<-ended
			})
		})
	}
}
