package load

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/banyanhq/banyan/stats"
	"github.com/banyanhq/banyan/topology"
)

// How a coordinator and its workers speak: JSON over HTTP/1.1, every message signed (HMAC-SHA-256, RFC 2104) under a key
// that both derive from the secret and a random number of each. A session's messages are counted, and the worker takes
// no count twice: what was recorded cannot be replayed, in this session or in another. The answers are signed too, over
// the count of their question. Nothing is encrypted.
const (
	wireVersion   = 3
	minSecret     = 16
	maxJob        = 192 << 20 // the files of the workload included
	maxJobFiles   = 128 << 20
	maxReport     = 256 << 20
	maxSmall      = 64 << 10
	headerSession = "Banyan-Session"
	headerCount   = "Banyan-Count"
	headerDigest  = "Banyan-Digest"
	headerMAC     = "Banyan-Mac"
)

// Paths of the protocol.
const (
	pathSession = "/v1/session"
	pathClock   = "/v1/clock"
	pathPrepare = "/v1/prepare"
	pathStart   = "/v1/start"
	pathStatus  = "/v1/status"
	pathStop    = "/v1/stop"
	pathResult  = "/v1/result"
	pathEnd     = "/v1/end"
)

// hello opens a session; welcome answers it. Nonces are 32 random bytes in hexadecimal.
type hello struct {
	Version int    `json:"version"`
	Nonce   string `json:"nonce"`
}

type welcome struct {
	Session string `json:"session"`
	Nonce   string `json:"nonce"`
}

// clockReading is when the worker got the question and when it answered, by its own clock.
type clockReading struct {
	Received int64 `json:"received_ns"`
	Sent     int64 `json:"sent_ns"`
}

// job is one worker's part of a run. Every step of the workload has its name.
type job struct {
	Target      string             `json:"target"`
	Workload    *topology.Workload `json:"workload"`
	Seed        uint64             `json:"seed"`
	Part        int64              `json:"part"`
	Of          int64              `json:"of"`
	Connections int                `json:"connections"`
	MaxInFlight int                `json:"max_in_flight"`
	MaxLate     time.Duration      `json:"max_late_ns"`
	MaxBody     int64              `json:"max_body"`
	Streams     int                `json:"streams"`
	CatchUp     string             `json:"catch_up"`
	Files       map[string][]byte  `json:"files"`
	Kept        kept               `json:"kept"`
}

// begin says when a prepared run starts, by the worker's clock.
type begin struct {
	At   int64 `json:"at_ns"`
	Kept kept  `json:"kept"`
}

// workerState is where a worker's run is.
type workerState string

const (
	stateReady   workerState = "ready"
	stateRunning workerState = "running"
	stateDone    workerState = "done"
	stateFailed  workerState = "failed"
)

type status struct {
	State    workerState      `json:"state"`
	Error    string           `json:"error,omitempty"`
	Progress Progress         `json:"progress"`
	Recent   *stats.Histogram `json:"recent,omitempty"` // latencies behind Progress
}

type failure struct {
	Error string `json:"error"`
}

// signature of a message. A question has status 0.
type signature struct {
	path, session string
	count         uint64
	status        int
	digest        string // of the body, SHA-256 in hexadecimal
}

func (s signature) mac(key []byte) string {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "banyan load\n%s\n%s\n%d\n%d\n%s\n", s.path, s.session, s.count, s.status, s.digest)
	return hex.EncodeToString(m.Sum(nil))
}

func (s signature) holds(key []byte, mac string) bool {
	return hmac.Equal([]byte(s.mac(key)), []byte(mac))
}

func digestOf(body []byte) string {
	d := sha256.Sum256(body)
	return hex.EncodeToString(d[:])
}

// sessionKey is the key of one session.
func sessionKey(secret []byte, session, client, worker string) []byte {
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "banyan load session\n%s\n%s\n%s\n", session, client, worker)
	return m.Sum(nil)
}

func randomHex() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func isNonce(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// parseCount reads a message's count: 1 or more, without signs and leading zeros, so that one count has one form.
func parseCount(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil && n > 0 && s == strconv.FormatUint(n, 10)
}

// unwrap reads one JSON value of known fields and nothing after it. Numbers of free values keep their digits.
func unwrap(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("message: more than one value")
	}
	return nil
}

// parseJob reads and checks a job, as far as the run itself does not.
func parseJob(data []byte) (*job, error) {
	var j job
	if err := unwrap(data, &j); err != nil {
		return nil, err
	}
	if j.Workload == nil || j.Of < 1 || j.Of > maxWorkers || j.Part < 0 || j.Part >= j.Of {
		return nil, errors.New("job: no workload, or no part of it")
	}
	if j.Files == nil {
		j.Files = map[string][]byte{}
	}
	for name, f := range j.Workload.Feeders {
		if f == nil {
			return nil, fmt.Errorf("job: feeder %q is empty", name)
		}
	}
	for name, s := range j.Workload.Scenarios {
		if s == nil {
			return nil, fmt.Errorf("job: scenario %q is empty", name)
		}
		for _, steps := range [][]*topology.Step{s.Setup, s.Steps, s.Teardown} {
			for _, st := range steps {
				if st == nil {
					return nil, fmt.Errorf("job: scenario %q has an empty step", name)
				}
				for _, e := range st.Extract {
					if e == nil {
						return nil, fmt.Errorf("job: scenario %q has an empty extraction", name)
					}
				}
			}
		}
	}
	return &j, nil
}

// config is what the worker runs.
func (j *job) config() Config {
	return Config{
		Target: j.Target, Workload: j.Workload, Seed: j.Seed, Connections: j.Connections, MaxInFlight: j.MaxInFlight,
		MaxLate: j.MaxLate, MaxBody: j.MaxBody, Streams: j.Streams, CatchUp: j.CatchUp, part: part{j.Part, j.Of}, held: j.Files, kept: kept{},
	}
}
