package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/atomicfile"
	"github.com/banyanhq/banyan/observe/segment"
)

// Ship says where lines are sent on to.
type Ship struct {
	// Engine is elasticsearch or loki.
	Engine string
	// URL of it, without a path of its API.
	URL string
	// System names the index (logs-SYSTEM-DATE) or the label system.
	System string
	// State is a file that remembers how far the lines have been sent.
	State string
	// Client to send with. Default: one that waits 30 s for an answer.
	Client *http.Client
}

const (
	shipBatch = 1000
	shipSpan  = 5000 // numbers of records looked at together
	shipMin   = 500 * time.Millisecond
	shipMax   = 30 * time.Second // between two tries
)

// errRefused says that the engine will not take a batch, however often it is sent.
var errRefused = errors.New("refused")

// Ship sends lines to another engine until ctx ends, from where it left off, again and again until they are taken; what the engine refuses
// is logged and passed over. Elasticsearch has each line once, for they have ids; Loki drops repetitions itself.
func (l *Logs) Ship(ctx context.Context, s Ship) error {
	if s.Client == nil {
		s.Client = &http.Client{Timeout: 30 * time.Second}
	}
	send := map[string]func(context.Context, []segment.Record) error{"elasticsearch": s.toElastic, "loki": s.toLoki}[s.Engine]
	if send == nil {
		return fmt.Errorf("logs: engine %q: not supported; elasticsearch and loki are", s.Engine)
	}
	last, err := s.load()
	if err != nil {
		return err
	}
	for {
		changed := l.store.Changed()
		for upTo := min(l.store.Last(), last+shipSpan); upTo > last; upTo = min(l.store.Last(), last+shipSpan) {
			err := l.between(ctx, segment.All(), last+1, upTo, func(records []segment.Record) error { return l.insist(ctx, send, records) })
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			last = upTo
			if err := s.save(last); err != nil {
				l.cfg.Log.Warn("lines may be sent twice", "error", err)
			}
		}
		select {
		case <-changed:
		case <-l.store.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// insist sends a batch until it is taken or refused.
func (l *Logs) insist(ctx context.Context, send func(context.Context, []segment.Record) error, records []segment.Record) error {
	for pause := shipMin; ; pause = min(2*pause, shipMax) {
		err := send(ctx, records)
		switch {
		case err == nil:
			l.counters.shipped.Add(int64(len(records)))
			return nil
		case errors.Is(err, errRefused):
			l.counters.unshipped.Add(int64(len(records)))
			l.cfg.Log.Error("the engine refuses lines; they are kept here alone", "lines", len(records), "error", err)
			return nil
		case pause == shipMin:
			l.cfg.Log.Warn("lines wait to be sent", "error", err)
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}

func (s *Ship) load() (uint64, error) {
	text, err := os.ReadFile(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("logs: how far lines were sent: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("logs: how far lines were sent: %s: %w", s.State, err)
	}
	return n, nil
}

func (s *Ship) save(n uint64) error {
	return atomicfile.Replace(s.State, fmt.Appendf(nil, "%d\n", n), 0o644)
}

// post sends a request. Answers of 400, 413 and the like are refusals; 429 and 5xx are not.
func (s *Ship) post(ctx context.Context, path, kind string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(s.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode/100 == 2:
		return text, nil
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s: %.300s", errRefused, resp.Status, text)
	}
	return nil, fmt.Errorf("%s answers %s: %.300s", s.URL, resp.Status, text)
}

func (s *Ship) toElastic(ctx context.Context, records []segment.Record) error {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	for i := range records {
		r := &records[i]
		at := time.Unix(0, r.Time).UTC()
		action := map[string]any{"create": map[string]string{"_index": "logs-" + s.System + "-" + at.Format("2006.01.02"), "_id": fmt.Sprintf("%s-%d-%d", s.System, r.Time, r.Seq)}}
		doc := map[string]any{"@timestamp": at.Format(time.RFC3339Nano), "message": strings.ToValidUTF8(r.Body, "\uFFFD")}
		labels, fields := map[string]string{}, map[string]string{}
		for _, l := range r.Stream.Labels() {
			labels[l.Name] = l.Value
		}
		for _, f := range r.Fields {
			fields[strings.ReplaceAll(f.Name, ".", "_")] = f.Value // so that an object and a value of one name do not clash
		}
		doc["labels"], doc["fields"] = labels, fields
		if level, ok := r.Field(FieldLevel); ok {
			doc["log"] = map[string]string{"level": level}
		}
		if err := errors.Join(lines.Encode(action), lines.Encode(doc)); err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
	}
	text, err := s.post(ctx, "/_bulk", "application/x-ndjson", body.Bytes())
	if err != nil {
		return err
	}
	var out struct {
		Items []map[string]struct {
			Status int
			Error  json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return fmt.Errorf("reading the answer to _bulk: %w", err)
	}
	for _, item := range out.Items {
		for _, it := range item {
			switch {
			case it.Status == http.StatusTooManyRequests || it.Status >= 500:
				return fmt.Errorf("a document was not taken: %.300s", it.Error)
			case it.Status == http.StatusConflict: // it is there: the answer to an earlier try was lost
			case it.Status >= 400:
				err = fmt.Errorf("%w: %.300s", errRefused, it.Error)
			}
		}
	}
	return err
}

func (s *Ship) toLoki(ctx context.Context, records []segment.Record) error {
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	var all []*stream
	byStream := map[*segment.Stream]*stream{}
	for i := range records {
		r := &records[i]
		st := byStream[r.Stream]
		if st == nil {
			st = &stream{Stream: map[string]string{"system": s.System}}
			for _, l := range r.Stream.Labels() {
				st.Stream[labelOf(l.Name)] = l.Value
			}
			byStream[r.Stream] = st
			all = append(all, st)
		}
		st.Values = append(st.Values, [2]string{strconv.FormatInt(r.Time, 10), strings.ToValidUTF8(r.Body, "\uFFFD")})
	}
	body, err := json.Marshal(map[string]any{"streams": all})
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	_, err = s.post(ctx, "/loki/api/v1/push", "application/json", body)
	return err
}

// labelOf is a name that Loki allows.
func labelOf(name string) string {
	return strings.Map(func(c rune) rune {
		if c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, name)
}
