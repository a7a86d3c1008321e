package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/banyanhq/banyan/bus/backup"
	"github.com/banyanhq/banyan/bus/broker"
)

// BackupHead says what a backup is a copy of.
type BackupHead struct {
	Created time.Time `json:"created"`
	Queues  []string  `json:"queues"`
	Topics  []string  `json:"topics"`
}

// BackupSum counts what a backup has.
type BackupSum struct {
	// Records of the queues' journal.
	Records int `json:"queue_records"`
	// Events and Bytes of the topics.
	Events uint64 `json:"topic_events"`
	Bytes  uint64 `json:"topic_bytes"`
	// Consumers of the topics, with their positions.
	Consumers int `json:"topic_consumers"`
}

// copiedTopic begins the copy of a topic: what JetStream says of the stream whose snapshot follows.
type copiedTopic struct {
	Name   string               `json:"name"`
	Config *server.StreamConfig `json:"config"`
	State  *server.StreamState  `json:"state"`
}

// copiedSchemas are the versions of a topic's schema as the registry stores them.
type copiedSchemas struct {
	Name string `json:"name"`
	File []byte `json:"file"`
}

const (
	// snapshotChunk is the size of the pieces that JetStream hands out.
	snapshotChunk = 128 << 10
	// snapshotWindow bounds the pieces that are on their way.
	snapshotWindow = 4 << 20
	// snapshotPatience is how long the next piece may take.
	snapshotPatience = 30 * time.Second
)

// Backup writes a copy of queues and topics with the positions of consumers, and the topics' schemas: of the streams that are
// named, or of all. The queues are those of one instant, each topic is that of an instant of its own. Sagas are not in it.
func (b *Bus) Backup(ctx context.Context, w io.Writer, streams []string) error {
	head := BackupHead{Created: time.Now().UTC(), Queues: []string{}, Topics: []string{}}
	if len(streams) == 0 {
		head.Queues, head.Topics = b.queueNames(), append([]string{}, b.embeddedTopics()...)
	}
	for _, name := range streams {
		if err := b.refuseExternal(name, "a backup"); err != nil {
			return err
		}
		switch _, topic := b.cfg.Topics[name]; {
		case topic:
			head.Topics = append(head.Topics, name)
		case b.Broker().Has(name):
			head.Queues = append(head.Queues, name)
		default:
			return fmt.Errorf("%w: %q is neither a queue nor a topic", broker.ErrNoQueue, name)
		}
	}
	out := backup.NewWriter(w)
	if err := writeFrame(out, backup.Head, head); err != nil {
		return err
	}
	var sum BackupSum
	if err := b.copySchemas(out, head.Topics); err != nil {
		return err
	}
	if len(head.Queues) > 0 {
		only := head.Queues
		if len(streams) == 0 {
			only = nil // those that are no longer in the configuration as well
		}
		err := b.Broker().Copy(ctx, only, func(record []byte) error {
			sum.Records++
			return out.Write(backup.Queues, record)
		})
		if err != nil {
			return fmt.Errorf("copying the queues: %w", err)
		}
	}
	for _, name := range head.Topics {
		if err := b.copyTopic(ctx, out, name, &sum); err != nil {
			return fmt.Errorf("copying the topic %s: %w", name, err)
		}
	}
	if err := writeFrame(out, backup.Sum, sum); err != nil {
		return err
	}
	return out.Close()
}

func writeFrame(out *backup.Writer, kind backup.Kind, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return out.Write(kind, text)
}

func (b *Bus) copySchemas(out *backup.Writer, topics []string) error {
	for _, name := range topics {
		file, err := b.schemas.Stored(name)
		if err != nil {
			return fmt.Errorf("copying the schemas of the topic %s: %w", name, err)
		}
		if file == nil {
			continue
		}
		if err := writeFrame(out, backup.Schemas, copiedSchemas{name, file}); err != nil {
			return err
		}
	}
	return nil
}

// copyTopic has JetStream make a snapshot of the stream with its consumers, and writes its pieces as they come.
func (b *Bus) copyTopic(ctx context.Context, out *backup.Writer, name string, sum *BackupSum) error {
	inbox := b.conn.NewInbox()
	sub, err := b.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	var answer server.JSApiStreamSnapshotResponse
	err = jetStreamCall(ctx, b.conn, fmt.Sprintf(server.JSApiStreamSnapshotT, name),
		server.JSApiStreamSnapshotRequest{DeliverSubject: inbox, ChunkSize: snapshotChunk, WindowSize: snapshotWindow}, &answer)
	if err == nil && answer.Error != nil {
		err = answer.Error
	}
	if err != nil {
		return err
	}
	if err := writeFrame(out, backup.Topic, copiedTopic{name, answer.Config, answer.State}); err != nil {
		return err
	}
	sum.Events += answer.State.Msgs
	sum.Bytes += answer.State.Bytes
	sum.Consumers += answer.State.Consumers
	for {
		waiting, cancel := context.WithTimeout(ctx, snapshotPatience)
		m, err := sub.NextMsgWithContext(waiting)
		cancel()
		if err != nil {
			return fmt.Errorf("waiting for the next piece: %w", err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("the NATS server broke off: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		if err := out.Write(backup.Chunk, m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := b.conn.Publish(m.Reply, nil); err != nil {
				return err
			}
		}
	}
}

// jetStreamCall asks JetStream's API.
func jetStreamCall(ctx context.Context, conn *nats.Conn, subject string, ask, answer any) error {
	text, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotPatience)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, subject, text)
	if err != nil {
		return fmt.Errorf("asking the NATS server: %w", err)
	}
	return json.Unmarshal(m.Data, answer)
}

// getBackup streams a backup. One that breaks off has no end, and its connection is cut.
func (b *Bus) getBackup(w http.ResponseWriter, r *http.Request) error {
	streams := r.URL.Query()["stream"]
	w.Header().Set("Content-Type", "application/octet-stream")
	begun := &begunWriter{w: w}
	err := b.Backup(r.Context(), begun, streams)
	if err == nil || !begun.begun {
		return err
	}
	b.cfg.Log.Error("a backup broke off", "error", err)
	panic(http.ErrAbortHandler)
}

// begunWriter knows whether anything was written, after which it is too late for a status.
type begunWriter struct {
	w     io.Writer
	begun bool
}

func (w *begunWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.w.Write(p)
}
