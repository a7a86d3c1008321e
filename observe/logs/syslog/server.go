// Package syslog receives syslog messages, RFC 5424 and RFC 3164, over UDP (RFC 5426) and TCP (RFC 6587, both framings), and keeps them in logs.Logs.
//
// A message's app is the label service, its host the label host; facility, process, message id and structured data are fields. Messages
// are read whatever is in them: what follows no rule is text. Syslog has no acknowledgements: what is lost here for want of room is counted.
//
// Server.Run owns the goroutines: one for UDP, one for each TCP connection, of which there are at most 256.
package syslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

const (
	maxConns   = 256
	maxMessage = 64 << 10
	idle       = 10 * time.Minute
	batchSize  = 500 // messages stored at once
)

// Server receives messages.
type Server struct {
	logs *logs.Logs
	log  *slog.Logger
	udp  net.PacketConn
	tcp  net.Listener
}

// Listen opens an address for UDP and TCP; with port 0 both get the same, which the system chooses.
func Listen(l *logs.Logs, address string, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var last error
	for range 10 { // a port that is free for one may be taken for the other
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("opening the address for syslog: %w", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return &Server{logs: l, log: log, udp: udp, tcp: tcp}, nil
		}
		_ = tcp.Close()
		last = err
		if !strings.HasSuffix(address, ":0") {
			break
		}
	}
	return nil, fmt.Errorf("opening the address for syslog: %w", last)
}

// Addr is the address, of both.
func (s *Server) Addr() net.Addr { return s.tcp.Addr() }

// Run receives until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return errors.Join(s.udp.Close(), s.tcp.Close())
	})
	group.Go(func() error { return s.packets(ctx) })
	group.Go(func() error { return s.accept(ctx) })
	return group.Wait()
}

func (s *Server) packets(ctx context.Context) error {
	buffer := make([]byte, maxMessage)
	for {
		n, _, err := s.udp.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving syslog: %w", err)
		}
		s.store(ctx, []string{strings.TrimRight(string(buffer[:n]), "\n\x00")})
	}
}

func (s *Server) accept(ctx context.Context) error {
	var conns errgroup.Group
	conns.SetLimit(maxConns)
	for {
		conn, err := s.tcp.Accept()
		if ctx.Err() != nil {
			return conns.Wait()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accepting syslog: %w", err), conns.Wait())
		}
		taken := conns.TryGo(func() error {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			s.stream(ctx, conn)
			return nil
		})
		if !taken {
			s.logs.Refused(1)
			_ = conn.Close()
		}
	}
}

// stream reads the messages of a connection: with their length before them, or a line each.
func (s *Server) stream(ctx context.Context, conn net.Conn) {
	r := bufio.NewReaderSize(conn, maxMessage)
	var batch []string
	for {
		if r.Buffered() == 0 || len(batch) >= batchSize {
			s.store(ctx, batch)
			batch = batch[:0]
			if err := conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
				return
			}
		}
		text, err := readMessage(r)
		if text != "" {
			batch = append(batch, text)
		}
		if err != nil {
			s.store(ctx, batch)
			if errors.Is(err, errFraming) {
				s.logs.BadRequest()
			}
			return
		}
	}
}

var errFraming = errors.New("a length that is none")

// readMessage reads one message. One that is too long is cut.
func readMessage(r *bufio.Reader) (string, error) {
	first, err := r.Peek(1)
	if err != nil {
		return "", err
	}
	if first[0] < '1' || first[0] > '9' {
		line, err := r.ReadSlice('\n')
		text := strings.TrimRight(string(line), "\r\n\x00")
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of it
			_, err = r.ReadSlice('\n')
		}
		return text, err
	}
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if c == ' ' {
			break
		}
		if c < '0' || c > '9' || digits == 8 {
			return "", errFraming
		}
		n = 10*n + int(c-'0')
	}
	kept := make([]byte, min(n, maxMessage))
	if _, err := io.ReadFull(r, kept); err != nil {
		return "", err
	}
	_, err = r.Discard(n - len(kept))
	return strings.TrimRight(string(kept), "\r\n\x00"), err
}

// store keeps messages. A failure of the disk costs them; logs.Logs counts that.
func (s *Server) store(ctx context.Context, messages []string) {
	if len(messages) == 0 {
		return
	}
	now := s.logs.Now()
	records := make([]segment.Record, 0, len(messages))
	for _, text := range messages {
		if text != "" {
			records = append(records, record(Parse(text, now), now))
		}
	}
	if err := s.logs.Append(ctx, records); err != nil && ctx.Err() == nil {
		s.log.Error("syslog messages are lost", "messages", len(records), "error", err)
	}
}

func record(m Message, now time.Time) segment.Record {
	if m.Time.IsZero() {
		m.Time = now
	}
	r := segment.Record{Time: m.Time.UnixNano(), Body: m.Text, Stream: segment.NewStream(map[string]string{
		logs.LabelService: m.App, "host": m.Host, "source": "syslog",
	})}
	r.Fields = append(r.Fields, segment.Field{Name: logs.FieldLevel, Value: severities[m.Severity]}, segment.Field{Name: "facility", Value: facilities[m.Facility]})
	for _, p := range append([]Pair{{"process", m.Process}, {"message_id", m.ID}}, m.Data...) {
		if p.Value != "" {
			r.Fields = append(r.Fields, segment.Field{Name: p.Name, Value: p.Value})
		}
	}
	for _, f := range logs.Parse(m.Text) {
		if f.Name != logs.FieldLevel {
			r.Fields = append(r.Fields, f)
		}
	}
	return r
}
