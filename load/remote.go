package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// remote is a worker as the coordinator sees it. One goroutine at a time talks to it.
type remote struct {
	address string
	secret  []byte
	client  *http.Client
	report  WorkerReport

	session string
	key     []byte
	count   uint64
	status  status // as it was heard last
	result  *Result
}

// Times that the coordinator allows.
const (
	messageTime = 5 * time.Second
	jobTime     = time.Minute // of messages that carry files or results
	clockProbes = 8
)

// errForeign says that an answer is not signed by one who knows the secret.
var errForeign = errors.New("the answer is not signed with the secret")

// answered is a signed refusal of the worker.
type answered struct {
	status int
	text   string
}

func (a *answered) Error() string { return a.text }

// ask sends one message and reads its answer into out.
func (w *remote) ask(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if len(body) > maxJob {
		return fmt.Errorf("the workload and its files are %d MiB: want %d at most", len(body)>>20, maxJob>>20)
	}
	data, sig, mac, err := w.exchange(ctx, path, body)
	if err != nil {
		return err
	}
	if path == pathSession { // the answer holds what its key is made of
		w.welcome(data, in.(hello))
	}
	key := w.key
	if key == nil {
		key = w.secret
	}
	if !sig.holds(key, mac) {
		if sig.status == http.StatusForbidden {
			return &answered{sig.status, "it refuses: another secret, a banyan of another version, or a session that it does not know"}
		}
		return errForeign
	}
	if sig.status != http.StatusOK {
		var f failure
		if err := unwrap(data, &f); err != nil {
			return err
		}
		return &answered{sig.status, f.Error}
	}
	if result, ok := out.(**Result); ok {
		*result, err = Read(bytes.NewReader(data))
		return err
	}
	return unwrap(data, out)
}

// exchange sends a signed message; the signature that it returns is the one that the answer claims.
func (w *remote) exchange(ctx context.Context, path string, body []byte) ([]byte, signature, string, error) {
	w.count++
	sig := signature{path: path, session: w.session, count: w.count, digest: digestOf(body)}
	key := w.key
	if key == nil {
		key = w.secret
	}
	allowed, limit := messageTime, int64(1<<20)
	if path == pathPrepare || path == pathResult {
		allowed, limit = jobTime, maxReport
	}
	ctx, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, sig, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerSession, sig.session)
	req.Header.Set(headerCount, strconv.FormatUint(sig.count, 10))
	req.Header.Set(headerDigest, sig.digest)
	req.Header.Set(headerMAC, sig.mac(key))
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, sig, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, sig, "", err
	}
	if int64(len(data)) > limit {
		return nil, sig, "", fmt.Errorf("an answer of more than %d MiB", limit>>20)
	}
	sig.status, sig.digest = resp.StatusCode, digestOf(data)
	return data, sig, resp.Header.Get(headerMAC), nil
}

// welcome derives the session's key from the answer to a hello. Only then is its signature checked: whoever does not
// know the secret cannot sign under the key.
func (w *remote) welcome(data []byte, h hello) {
	var answer welcome
	if unwrap(data, &answer) != nil || !isNonce(answer.Session) || !isNonce(answer.Nonce) {
		return // a refusal: its own signature decides
	}
	w.key = sessionKey(w.secret, answer.Session, h.Nonce, answer.Nonce)
	w.session = answer.Session
}

// meet opens the session. The answer's signature names no session, as the question did.
func (w *remote) meet(ctx context.Context) error {
	var answer welcome
	if err := w.ask(ctx, pathSession, hello{Version: wireVersion, Nonce: randomHex()}, &answer); err != nil {
		w.key, w.session = nil, ""
		return err
	}
	return nil
}

// readClock measures how far the worker's clock is ahead: several exchanges of four instants, of which the one with the
// shortest round trip has the least error (D. Mills, RFC 5905, 8 and 10).
func (w *remote) readClock(ctx context.Context) error {
	best := time.Duration(-1)
	for range clockProbes {
		var c clockReading
		asked := time.Now()
		if err := w.ask(ctx, pathClock, struct{}{}, &c); err != nil {
			return err
		}
		trip := time.Since(asked)
		inside := time.Duration(c.Sent - c.Received)
		if inside < 0 || inside > trip {
			return fmt.Errorf("its clock says that it took %s of the %s of a round trip", inside, trip)
		}
		if trip -= inside; best < 0 || trip < best {
			best = trip
			there := c.Received - asked.UnixNano()
			back := c.Sent - asked.Add(trip+inside).UnixNano()
			w.report.Offset = time.Duration(there/2 + back/2)
			w.report.OffsetError = trip / 2
		}
	}
	return nil
}

// instant is a moment of the coordinator by the worker's clock.
func (w *remote) instant(at time.Time) int64 { return at.UnixNano() + int64(w.report.Offset) }

// lose notes that nothing more is expected of the worker.
func (w *remote) lose(err error) {
	var request *url.Error // which repeats the address
	if errors.As(err, &request) {
		err = request.Err
	}
	w.report.Lost = err.Error()
	w.report.LostAt, w.report.LastSent = w.status.Progress.Elapsed, w.status.Progress.TotalSent
}

// follow asks for the worker's state until its run has ended, and takes its result. Where ctx is done it has the run cut
// first. A worker that is silent for longer than patience, or that has forgotten the run, is lost. beat paces the
// questions.
func (w *remote) follow(ctx context.Context, patience, beat time.Duration, heard func(status)) {
	done := ctx.Done()
	late := context.WithoutCancel(ctx)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	last := time.Now()
	stopping := false
	for {
		select {
		case <-done:
			stopping, done = true, nil
		case <-tick.C:
		}
		err := w.look(late, &stopping)
		var no *answered
		switch {
		case err == nil:
			last = time.Now()
			heard(w.status)
		case errors.As(err, &no), errors.Is(err, errForeign), time.Since(last) > patience:
			w.lose(err)
			return
		default:
			continue
		}
		switch w.status.State {
		case stateFailed:
			w.lose(errors.New(w.status.Error))
			return
		case stateDone:
			if err := w.ask(late, pathResult, struct{}{}, &w.result); err != nil {
				w.lose(fmt.Errorf("its result: %w", err))
			}
			return
		}
	}
}

// look asks for the state, and stops the run first where that is wanted.
func (w *remote) look(ctx context.Context, stopping *bool) error {
	if *stopping {
		if err := w.ask(ctx, pathStop, struct{}{}, &struct{}{}); err != nil {
			return err
		}
		*stopping = false
	}
	var s status
	if err := w.ask(ctx, pathStatus, struct{}{}, &s); err != nil {
		return err
	}
	w.status = s
	return nil
}

// leave ends the session's run, whatever its state; the worker would notice by itself, but later.
func (w *remote) leave() {
	if w.key == nil || w.report.Lost != "" && w.result == nil && w.status.State == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.ask(ctx, pathEnd, struct{}{}, &struct{}{})
}
