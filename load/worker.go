package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxSessions is how many sessions a worker remembers; the one that was opened first is forgotten first.
const maxSessions = 16

// workerLease is how long a worker goes on with a run of whose coordinator it hears nothing.
const workerLease = 15 * time.Second

// Worker sends parts of runs for coordinators that know its secret, one run at a time. It reads no file of its own
// machine: what a workload needs is sent to it.
type Worker struct {
	secret []byte
	lease  time.Duration

	mu       sync.Mutex
	sessions []*workerSession
	task     *task // nil: free
	wg       sync.WaitGroup
	ctx      context.Context
}

type workerSession struct {
	id    string
	key   []byte
	count uint64 // of the last message
}

// task is the run of a worker.
type task struct {
	owner  string
	run    *run
	ctx    context.Context // done: the run is cut
	cancel context.CancelFunc

	// Guarded by the worker.
	state   workerState
	heard   time.Time
	latest  Progress
	result  *Result
	failure string
}

// NewWorker returns a worker. The secret has at least 16 bytes.
func NewWorker(secret []byte) (*Worker, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("load worker: a secret of %d bytes: want %d at least", len(secret), minSecret)
	}
	return &Worker{secret: secret, lease: workerLease}, nil
}

// Run serves coordinators on l until ctx is done; then it cuts the run under way, closes l and returns nil. A Worker is
// run once.
func (w *Worker) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.ctx = ctx
	server := &http.Server{Handler: http.HandlerFunc(w.serve), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	w.wg.Go(func() { w.watch(ctx) })
	w.wg.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	err := server.Serve(l)
	cancel()
	w.wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("load worker: %w", err)
}

// watch ends a run whose coordinator is silent.
func (w *Worker) watch(ctx context.Context) {
	tick := time.NewTicker(w.lease / 8)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		if t := w.task; t != nil && time.Since(t.heard) > w.lease {
			w.release(t)
		}
		w.mu.Unlock()
	}
}

// release cuts t and makes the worker free. The caller holds the lock.
func (w *Worker) release(t *task) {
	t.cancel()
	if w.task == t {
		w.task = nil
	}
}

// refusal is an error with its HTTP status.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

// serve answers one message. What is not signed gets an empty refusal, before its body is read.
func (w *Worker) serve(out http.ResponseWriter, in *http.Request) {
	received := time.Now()
	count, ok := parseCount(in.Header.Get(headerCount))
	sig := signature{path: in.URL.Path, session: in.Header.Get(headerSession), count: count, digest: in.Header.Get(headerDigest)}
	if in.Method != http.MethodPost || !ok || in.URL.RawQuery != "" {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	key := w.admit(sig, in.Header.Get(headerMAC))
	if key == nil {
		out.WriteHeader(http.StatusForbidden)
		return
	}
	limit := int64(maxSmall)
	if sig.path == pathPrepare {
		limit = maxJob
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, in.Body, limit))
	if err != nil || digestOf(body) != sig.digest {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	var answer any
	if sig.path == pathSession {
		answer, key, err = w.open(body)
	} else {
		answer, err = w.handle(sig, body, received)
	}
	code := http.StatusOK
	var refused refusal
	if errors.As(err, &refused) {
		code, answer = refused.status, failure{refused.text}
	} else if err != nil {
		code, answer = http.StatusUnprocessableEntity, failure{err.Error()}
	}
	if c, ok := answer.(clockReading); ok {
		c.Sent = time.Now().UnixNano()
		answer = c
	}
	data, err := json.Marshal(answer)
	if err != nil {
		out.WriteHeader(http.StatusInternalServerError)
		return
	}
	sig.status, sig.digest = code, digestOf(data)
	out.Header().Set("Content-Type", "application/json")
	out.Header().Set(headerMAC, sig.mac(key))
	out.WriteHeader(code)
	_, _ = out.Write(data) // the coordinator asks again
}

// admit checks the signature of a message and that its count is new; it returns the key, nil to refuse.
func (w *Worker) admit(sig signature, mac string) []byte {
	if sig.path == pathSession {
		if sig.session == "" && sig.holds(w.secret, mac) {
			return w.secret
		}
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if s.id == sig.session {
			if !sig.holds(s.key, mac) || sig.count <= s.count {
				return nil
			}
			s.count = sig.count
			return s.key
		}
	}
	return nil
}

// open begins a session. Whoever replays an old hello gets one that he has no key for.
func (w *Worker) open(body []byte) (any, []byte, error) {
	var h hello
	if err := unwrap(body, &h); err != nil {
		return nil, w.secret, err
	}
	if h.Version != wireVersion {
		return nil, w.secret, fmt.Errorf("protocol version %d: this worker speaks %d", h.Version, wireVersion)
	}
	if !isNonce(h.Nonce) {
		return nil, w.secret, errors.New("hello without a nonce")
	}
	answer := welcome{Session: randomHex(), Nonce: randomHex()}
	s := &workerSession{id: answer.Session, key: sessionKey(w.secret, answer.Session, h.Nonce, answer.Nonce)}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.sessions) >= maxSessions {
		oldest := 0
		if w.task != nil && w.sessions[0].id == w.task.owner {
			oldest = 1 // a run keeps its session
		}
		w.sessions = append(w.sessions[:oldest], w.sessions[oldest+1:]...)
	}
	w.sessions = append(w.sessions, s)
	return answer, s.key, nil
}

// handle carries out what a signed message asks for.
func (w *Worker) handle(sig signature, body []byte, received time.Time) (any, error) {
	switch sig.path {
	case pathClock:
		return clockReading{Received: received.UnixNano()}, nil
	case pathPrepare:
		return w.prepare(sig.session, body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.task
	if t == nil || t.owner != sig.session {
		return nil, refuse(http.StatusConflict, "no run of this session")
	}
	t.heard = time.Now()
	switch sig.path {
	case pathStart:
		return struct{}{}, w.start(t, body)
	case pathStatus:
		return status{State: t.state, Error: t.failure, Progress: t.latest, Recent: t.latest.Recent}, nil
	case pathStop:
		t.cancel()
		return struct{}{}, nil
	case pathResult:
		if t.result == nil {
			return nil, refuse(http.StatusConflict, "the run has no result: it is %s", t.state)
		}
		return t.result, nil
	case pathEnd:
		w.release(t)
		return struct{}{}, nil
	}
	return nil, refuse(http.StatusNotFound, "no such message")
}

// prepare makes a run ready, if there is no other.
func (w *Worker) prepare(session string, body []byte) (any, error) {
	j, err := parseJob(body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	if w.task != nil {
		w.mu.Unlock()
		return nil, refuse(http.StatusConflict, "busy with another run")
	}
	ctx, cancel := context.WithCancel(w.ctx)
	t := &task{owner: session, ctx: ctx, cancel: cancel, state: stateReady, heard: time.Now()}
	w.task = t // before the files are read, which takes its time
	w.mu.Unlock()
	cfg := j.config()
	cfg.Progress = func(p Progress) {
		w.mu.Lock()
		defer w.mu.Unlock()
		t.latest = p
	}
	r, _, err := prepare(cfg)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && ctx.Err() != nil {
		err = errors.New("the run was given up")
	}
	if err != nil {
		w.release(t)
		return nil, err
	}
	t.run, t.heard = r, time.Now()
	return struct{}{}, nil
}

// start begins the prepared run at the instant that the coordinator names. The caller holds the lock.
func (w *Worker) start(t *task, body []byte) error {
	var b begin
	if err := unwrap(body, &b); err != nil {
		return err
	}
	if t.state != stateReady || t.run == nil {
		return refuse(http.StatusConflict, "the run is not ready but %s", t.state)
	}
	now := time.Now()
	wait := time.Duration(b.At - now.UnixNano())
	if wait <= 0 || wait > time.Minute {
		return fmt.Errorf("a start in %s: want an instant within the next minute", wait)
	}
	t.state = stateRunning
	t.run.cfg.startAt, t.run.cfg.kept = now.Add(wait), b.Kept
	if b.Kept == nil {
		t.run.cfg.kept = kept{}
	}
	w.wg.Go(func() {
		res, err := t.run.whole(t.ctx, nil)
		w.mu.Lock()
		defer w.mu.Unlock()
		if t.result, t.state = res, stateDone; err != nil {
			t.state, t.failure = stateFailed, err.Error()
		}
	})
	return nil
}
