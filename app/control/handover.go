package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// HandOver is what one gateway gives to the one that takes its place.
type HandOver struct {
	// Sockets are what it listens on.
	Sockets []Socket `json:"sockets"`
	// Files are the sockets themselves, in the same order.
	Files []*os.File `json:"-"`

	conn *net.UnixConn // of the one that takes: closing it without a confirmation leaves everything as it was
}

// Socket names a listening socket.
type Socket struct {
	Name string `json:"name"`
	// Address as the file of the one that gives has it.
	Address string `json:"address"`
}

// Close lets go of the files; the one that gives goes on serving unless Confirm was called.
func (h *HandOver) Close() {
	for _, f := range h.Files {
		_ = f.Close() // only a copy
	}
	if h.conn != nil {
		_ = h.conn.Close()
	}
}

// Confirm tells the one that gives that all of it has arrived, and that it may end.
func (h *HandOver) Confirm() error {
	_, err := h.conn.Write([]byte{'\n'})
	return err
}

const (
	handOverTime = 10 * time.Second
	maxHanded    = 128 // sockets; the kernel takes 253 at once
	maxHandOver  = 64 << 10
)

// serveHandOver answers with the listeners' descriptors as ancillary data (unix(7), SCM_RIGHTS), which HTTP cannot carry:
// the connection is taken out of HTTP's hands first.
func serveHandOver(sys System) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h, done, err := sys.HandOver()
		if err != nil {
			fail(w, http.StatusConflict, err)
			return
		}
		defer h.Close()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		defer conn.Close()
		unixConn, ok := conn.(*net.UnixConn)
		if !ok {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(handOverTime)) // fails only where writing does
		if sendFiles(unixConn, h) != nil {
			return
		}
		// Only when the other side has them is it time to go.
		if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
			done()
		}
	}
}

func sendFiles(conn *net.UnixConn, h HandOver) error {
	head, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(h.Files) > maxHanded || len(head) > maxHandOver {
		return fmt.Errorf("handing over %d sockets: %d are possible", len(h.Files), maxHanded)
	}
	fds := make([]int, len(h.Files))
	for i, f := range h.Files {
		// Not by Fd, which has the socket block: it is the same for both processes, and their loops must never wait in accept.
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return err
		}
	}
	_, _, err = conn.WriteMsgUnix(head, unix.UnixRights(fds...), nil)
	return err
}

// HandOver asks the gateway that runs for its listeners. ErrNotRunning if none does.
func (c *Client) HandOver(ctx context.Context) (h HandOver, err error) {
	raw, err := c.dial(ctx)
	if err != nil {
		return h, notRunning(ctx, err)
	}
	conn := raw.(*net.UnixConn)
	defer func() {
		if err != nil {
			h.Close()
			_ = conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(handOverTime))
	if _, err := io.WriteString(conn, "POST /v1/handover HTTP/1.1\r\nHost: banyan\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return h, fmt.Errorf("asking for the listeners: %w", err)
	}
	data, rights := make([]byte, maxHandOver), make([]byte, unix.CmsgSpace(4*maxHanded))
	n, rn, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return h, fmt.Errorf("waiting for the listeners: %w", err)
	}
	if h.Files, err = filesOf(rights[:rn]); err != nil {
		return h, err
	}
	if len(h.Files) == 0 {
		return h, refusal(data[:n])
	}
	if err := json.Unmarshal(data[:n], &h); err != nil {
		return h, fmt.Errorf("reading what was handed over: %w", err)
	}
	if len(h.Sockets) != len(h.Files) {
		return h, fmt.Errorf("%d sockets were handed over, and %d names: is the gateway that runs of another version?", len(h.Files), len(h.Sockets))
	}
	h.conn = conn
	return h, nil
}

func filesOf(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("reading what was handed over: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, fmt.Errorf("reading what was handed over: %w", err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return files, nil
}

// refusal is the error in an ordinary answer of HTTP.
func refusal(answer []byte) error {
	for i := range answer {
		var e wireError
		if answer[i] == '{' && json.Unmarshal(answer[i:], &e) == nil && e.Error != "" {
			return errors.New(e.Error)
		}
	}
	return errors.New("the gateway that runs handed nothing over: is it of another version?")
}
