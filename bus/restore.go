package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/bus/backup"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/bus/schema"
)

// CheckBackup reads a backup whole and says what is in it; the error is backup.ErrDamaged where it is not what was written.
func CheckBackup(r io.Reader) (head BackupHead, sum BackupSum, err error) {
	in, err := backup.NewReader(r)
	if err != nil {
		return head, sum, err
	}
	last := backup.Kind(0)
	for {
		kind, payload, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && last == backup.Sum:
			return head, sum, nil
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("%w: it does not say what it has", backup.ErrDamaged)
		case err == nil:
			err = checkFrame(kind, last, payload, &head, &sum)
		}
		if err != nil {
			return head, sum, fmt.Errorf("reading the backup: %w", err)
		}
		last = kind
	}
}

// frameOrder is in which order the kinds stand in a file.
var frameOrder = []backup.Kind{backup.Head, backup.Schemas, backup.Queues, backup.Topic, backup.Sum}

func checkFrame(kind, last backup.Kind, payload []byte, head *BackupHead, sum *BackupSum) error {
	if kind == backup.Chunk {
		if last != backup.Topic && last != backup.Chunk {
			return fmt.Errorf("%w: a piece of no topic", backup.ErrDamaged)
		}
		return nil
	}
	if last == backup.Chunk {
		last = backup.Topic
	}
	at, before := slices.Index(frameOrder, kind), slices.Index(frameOrder, last)
	if at < 0 || at < before || (at == 0) != (last == 0) || at == before && kind == backup.Sum {
		return fmt.Errorf("%w: a part of the kind %q stands where none does", backup.ErrDamaged, string(rune(kind)))
	}
	switch kind {
	case backup.Head:
		return json.Unmarshal(payload, head)
	case backup.Sum:
		return json.Unmarshal(payload, sum)
	}
	return nil
}

// Restore makes the folder of a bus from a backup. The folder must not be there, or be empty; it is there whole when Restore
// returns without an error, and not at all otherwise. The backup is read twice: it is checked before anything is made of it.
func Restore(ctx context.Context, file io.ReadSeeker, dir string) (head BackupHead, sum BackupSum, err error) {
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return head, sum, fmt.Errorf("%s is not empty: a backup is restored into a folder of its own", dir)
	}
	if head, sum, err = CheckBackup(file); err != nil {
		return head, sum, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return head, sum, fmt.Errorf("reading the backup again: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return head, sum, err
	}
	making, err := os.MkdirTemp(filepath.Dir(dir), ".restoring-*")
	if err != nil {
		return head, sum, err
	}
	defer os.RemoveAll(making) // of one that was restored there is nothing any more
	if err := restoreInto(ctx, file, making); err != nil {
		return head, sum, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return head, sum, err
	}
	if err := os.Rename(making, dir); err != nil {
		return head, sum, err
	}
	return head, sum, atomicfile.SyncDir(filepath.Dir(dir))
}

// restorer goes through the frames of a backup, of which it has the next one in hand.
type restorer struct {
	in      *backup.Reader
	dir     string
	kind    backup.Kind // 0: there is none any more
	payload []byte
}

func (r *restorer) next() (err error) {
	r.kind, r.payload, err = r.in.Next()
	if errors.Is(err, io.EOF) {
		r.kind, err = 0, nil
	}
	return err
}

func restoreInto(ctx context.Context, file io.Reader, dir string) error {
	in, err := backup.NewReader(file)
	if err != nil {
		return err
	}
	r := &restorer{in: in, dir: dir}
	for err = r.next(); err == nil && r.kind != 0; {
		switch r.kind {
		case backup.Schemas:
			err = r.schemas()
		case backup.Queues:
			err = r.queues(ctx)
		case backup.Topic:
			err = r.topics(ctx)
		case backup.Head, backup.Sum:
			err = r.next()
		default:
			err = fmt.Errorf("%w: a part of the kind %q stands where none does", backup.ErrDamaged, string(rune(r.kind)))
		}
	}
	return err
}

func (r *restorer) schemas() error {
	var s copiedSchemas
	if err := json.Unmarshal(r.payload, &s); err != nil {
		return fmt.Errorf("restoring a schema: %w", err)
	}
	if !namePattern.MatchString(s.Name) {
		return fmt.Errorf("restoring a schema: %q is not the name of a topic", s.Name)
	}
	registry, err := schema.Open(filepath.Join(r.dir, "schemas"))
	if err == nil {
		err = registry.Restore(s.Name, s.File)
	}
	if err != nil {
		return fmt.Errorf("restoring the schemas of the topic %s: %w", s.Name, err)
	}
	return r.next()
}

func (r *restorer) queues(ctx context.Context) error {
	first := true
	err := broker.Restore(ctx, filepath.Join(r.dir, "queues"), func() ([]byte, bool, error) {
		if !first {
			if err := r.next(); err != nil {
				return nil, false, err
			}
		}
		first = false
		return r.payload, r.kind == backup.Queues, nil
	})
	if err != nil {
		return fmt.Errorf("restoring the queues: %w", err)
	}
	return nil
}

// topics restores all topics by a NATS server of its own.
func (r *restorer) topics(ctx context.Context) error {
	s, err := server.NewServer(&server.Options{ServerName: "banyan-restore", DontListen: true, NoSigs: true, NoLog: true, JetStream: true,
		StoreDir: filepath.Join(r.dir, "topics"), SyncAlways: true, MaxPayload: mostMessage})
	if err != nil {
		return fmt.Errorf("preparing the NATS server: %w", err)
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the NATS server that restores topics does not come up")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return fmt.Errorf("connecting to the NATS server: %w", err)
	}
	defer conn.Close()
	for r.kind == backup.Topic {
		var t copiedTopic
		if err := json.Unmarshal(r.payload, &t); err != nil {
			return fmt.Errorf("restoring a topic: %w", err)
		}
		if t.Config == nil || t.State == nil || t.Config.Name != t.Name || !namePattern.MatchString(t.Name) {
			return fmt.Errorf("restoring a topic: %q is not described as one", t.Name)
		}
		if err := r.topic(ctx, conn, t); err != nil {
			return fmt.Errorf("restoring the topic %s: %w", t.Name, err)
		}
	}
	return nil
}

// topic hands the pieces of a snapshot to JetStream, which answers each of them, and compares what came of it.
func (r *restorer) topic(ctx context.Context, conn *nats.Conn, t copiedTopic) error {
	var begun server.JSApiStreamRestoreResponse
	err := jetStreamCall(ctx, conn, fmt.Sprintf(server.JSApiStreamRestoreT, t.Name), server.JSApiStreamRestoreRequest{Config: *t.Config, State: *t.State}, &begun)
	if err == nil && begun.Error != nil {
		err = begun.Error
	}
	for err == nil {
		if err = r.next(); err != nil || r.kind != backup.Chunk {
			break
		}
		err = sendPiece(ctx, conn, begun.DeliverSubject, r.payload, nil)
	}
	if err != nil {
		return err
	}
	var done server.JSApiStreamCreateResponse
	if err := sendPiece(ctx, conn, begun.DeliverSubject, nil, &done); err != nil {
		return err
	}
	if done.Error != nil {
		return done.Error
	}
	if done.StreamInfo == nil || done.State.Msgs != t.State.Msgs || done.State.LastSeq != t.State.LastSeq {
		return fmt.Errorf("it has not the events that were copied: %d up to %d", t.State.Msgs, t.State.LastSeq)
	}
	return nil
}

// sendPiece hands over one piece; an answer with content is an error, or that of the last one.
func sendPiece(ctx context.Context, conn *nats.Conn, subject string, piece []byte, answer *server.JSApiStreamCreateResponse) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, subject, piece)
	if err != nil {
		return fmt.Errorf("handing over a piece: %w", err)
	}
	switch {
	case answer != nil:
		return json.Unmarshal(m.Data, answer)
	case len(m.Data) > 0:
		var failed server.JSApiStreamCreateResponse
		if err := json.Unmarshal(m.Data, &failed); err == nil && failed.Error != nil {
			return failed.Error
		}
		return errors.New("a piece was not taken")
	}
	return nil
}
