//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/banyanhq/banyan/reactor"
)

// publishLean has producers do what those of publishAll do, from one goroutine and at a small part of the cost: on a machine where both share the
// cores, nats.go's client needs about as much of them as the server that is measured. Each producer has a connection, a subscription to answers
// and one message under way; its frame is written in advance, but for the last part of the subject of the answer, which is another one each time,
// as it is with nats.go.
func publishLean(_ context.Context, p *process, o options) (figures, error) {
	start := time.Now()
	loop, err := reactor.New(func() time.Duration { return time.Since(start) })
	if err != nil {
		return figures{}, err
	}
	defer loop.Close()
	to, err := socketAddress(strings.TrimPrefix(p.url, "nats://"))
	if err != nil {
		return figures{}, err
	}
	r := &leanRun{loop: loop, time: o.time}
	r.patience.Owner = r
	loop.Set(&r.patience, o.time+30*time.Second)
	for i := range o.producers {
		s := newLeanProducer(r, i, o.size)
		defer s.conn.Close()
		if err := loop.Dial(&s.conn, to, s); err != nil {
			return figures{}, err
		}
		r.producers = append(r.producers, s)
	}
	if err := errors.Join(loop.Run(), r.err); err != nil {
		return figures{}, err
	}
	return summarise(r.latencies, time.Since(r.begun)), nil
}

func socketAddress(address string) (unix.Sockaddr, error) {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, nil
}

// leanRun is what the producers have in common.
type leanRun struct {
	loop          *reactor.Loop
	producers     []*leanProducer
	greeted, done int
	begun         time.Time
	time          time.Duration
	latencies     []time.Duration
	patience      reactor.Timer
	err           error
}

// Expired is part of reactor.Expirer.
func (r *leanRun) Expired(*reactor.Timer) {
	r.fail(fmt.Errorf("%d of %d producers wait for answers that do not come", len(r.producers)-r.done, len(r.producers)))
}

func (r *leanRun) fail(err error) {
	r.err = errors.Join(r.err, err)
	r.loop.Stop()
}

// began counts those who are connected. All publish from when the last one is.
func (r *leanRun) began() {
	if r.greeted++; r.greeted < len(r.producers) {
		return
	}
	r.begun = time.Now()
	for _, s := range r.producers {
		s.publish()
	}
}

// leanProducer publishes one message after the other.
type leanProducer struct {
	run      *leanRun
	conn     reactor.Conn
	greeting []byte // nil: it was sent
	frame    []byte
	digits   []byte // of frame, which are another number for each message
	sent     time.Time
	came     []byte // and is not understood yet
	room     [1024]byte
}

const leanGreeting = `CONNECT {"verbose":false,"pedantic":false,"lang":"go","version":"1","protocol":1,"headers":true,"no_responders":true}`

func newLeanProducer(r *leanRun, i, size int) *leanProducer {
	inbox := fmt.Sprintf("_INBOX.bench%017d.", i)
	s := &leanProducer{run: r, greeting: fmt.Appendf(nil, "%s\r\nSUB %s* 1\r\nPING\r\n", leanGreeting, inbox)}
	s.came = s.room[:0]
	head := "PUB queues.jobs " + inbox
	s.frame = fmt.Appendf(nil, "%s00000000 %d\r\n", head, size)
	s.frame = append(append(s.frame, make([]byte, size)...), "\r\n"...)
	s.digits = s.frame[len(head):][:8]
	return s
}

// Ready is part of reactor.Handler.
func (s *leanProducer) Ready(c *reactor.Conn) {
	if s.greeting != nil && c.Writable {
		s.send(s.greeting)
		s.greeting = nil
	}
	for c.Readable {
		n, end, errno := c.Read(s.room[len(s.came):])
		if s.came = s.room[:len(s.came)+n]; end || errno != 0 {
			s.run.fail(fmt.Errorf("the server ended the connection of a producer: %w", errno))
			return
		}
		if err := s.understand(); err != nil {
			s.run.fail(err)
			return
		}
	}
}

// understand looks at what came, line by line, and keeps the beginning of a line.
func (s *leanProducer) understand() error {
	rest := s.came
	for {
		line, behind, whole := bytes.Cut(rest, []byte("\r\n"))
		if !whole {
			break
		}
		if bytes.HasPrefix(line, []byte("MSG ")) {
			size, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
			if err != nil {
				return fmt.Errorf("an answer %q: %w", line, err)
			}
			if len(behind) < size+2 {
				break
			}
			if err := s.answered(behind[:size]); err != nil {
				return err
			}
			rest = behind[size+2:]
			continue
		}
		switch {
		case string(line) == "PING":
			s.send([]byte("PONG\r\n"))
		case string(line) == "PONG":
			s.run.began()
		case !bytes.HasPrefix(line, []byte("INFO ")):
			return fmt.Errorf("the server says %q", line)
		}
		rest = behind
	}
	s.came = s.room[:copy(s.room[:], rest)]
	if len(s.came) == len(s.room) {
		return fmt.Errorf("the server sends a line of more than %d bytes", len(s.room))
	}
	return nil
}

// answered takes the time of an acknowledgement, and sends the next message while there is time.
func (s *leanProducer) answered(ack []byte) error {
	if !bytes.Contains(ack, []byte(`"seq":`)) || bytes.Contains(ack, []byte(`"error"`)) {
		return fmt.Errorf("no acknowledgement, but %q", ack)
	}
	now := time.Now()
	s.run.latencies = append(s.run.latencies, now.Sub(s.sent))
	if now.Sub(s.run.begun) < s.run.time {
		s.publish()
	} else if s.run.done++; s.run.done == len(s.run.producers) {
		s.run.loop.Stop()
	}
	return nil
}

func (s *leanProducer) publish() {
	for i := len(s.digits) - 1; i >= 0; i-- {
		if s.digits[i]++; s.digits[i] <= '9' {
			break
		}
		s.digits[i] = '0'
	}
	s.sent = time.Now()
	s.send(s.frame)
}

// send writes what always fits: the socket takes more than what one message and its answer have the server wait for.
func (s *leanProducer) send(p []byte) {
	if n, errno := s.conn.Write(p); n < len(p) {
		s.run.fail(fmt.Errorf("the server took %d of %d bytes: %w", n, len(p), errno))
	}
}
