package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// warnEvery is how often the same kind of warning of the server is logged, with how many there were.
	warnEvery = time.Minute
	// maxWarnings bounds the kinds that are told apart; the others count as one.
	maxWarnings = 100
)

// natsLog hands the server's log on. What it notices of single clients is for debugging. Of what it warns of, the first of a kind is logged,
// then once each warnEvery the latest with their number, whatever clients send.
type natsLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*repeated // of the current period
}

// repeated is a kind of warnings of which one was logged.
type repeated struct {
	more   int // since then
	latest string
}

func newNATSLog(log *slog.Logger) *natsLog {
	return &natsLog{log: log, kinds: map[string]*repeated{}}
}

func (l *natsLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l *natsLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l *natsLog) Errorf(f string, v ...any)  { l.Warnf(f, v...) }
func (l *natsLog) Debugf(f string, v ...any)  {}
func (l *natsLog) Tracef(f string, v ...any)  {}

func (l *natsLog) Warnf(f string, v ...any) {
	text := fmt.Sprintf(f, v...)
	if level := warning(text); level != slog.LevelWarn {
		l.log.Log(context.Background(), level, text)
		return
	}
	if l.first(warningKind(f), text) {
		l.log.Warn(text)
	}
}

// first counts a warning, and reports whether it is the first of its kind in this period.
func (l *natsLog) first(kind, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds[kind] == nil && len(l.kinds) >= maxWarnings {
		kind = ""
	}
	if r := l.kinds[kind]; r != nil {
		r.more++
		r.latest = text
		return false
	}
	l.kinds[kind] = &repeated{}
	return true
}

// run tells what has gathered, each period, until ctx ends.
func (l *natsLog) run(ctx context.Context) {
	tick := time.NewTicker(warnEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.tell()
		}
	}
}

// tell ends a period: of each kind of which there were more than one it logs the latest, and begins anew with the others.
func (l *natsLog) tell() {
	l.mu.Lock()
	told := l.kinds
	l.kinds = map[string]*repeated{}
	for kind, r := range told {
		if r.more > 0 {
			l.kinds[kind] = &repeated{} // the next one of it is not the first
		}
	}
	l.mu.Unlock()
	for _, r := range told {
		if r.more > 0 {
			l.log.Warn(r.latest, "more_like_it", r.more, "within", warnEvery)
		}
	}
}

// warningKind is what warnings of one kind have in common: the server's own words up to the first value. The server writes who a client is, and what
// that calls itself, before them.
func warningKind(format string) string {
	if i := strings.LastIndex(format, " - "); i >= 0 {
		format = format[i+len(" - "):]
	}
	if i := strings.IndexAny(format, "%\"'[:=0123456789"); i > 0 {
		format = format[:i]
	}
	return format[:min(len(format), 60)]
}

// warning is the level of a warning of the server: that nodes of a cluster have not met yet is what each start is like, and what is
// checked of certificates says transport.Certificates.
func warning(text string) slog.Level {
	for _, usual := range []string{"Error trying to connect to", "Waiting for routing", "JetStream has not established contact", "Metalayer blocking snapshot",
		"TLS certificate chain and hostname of solicited routes will not be verified"} {
		if strings.HasPrefix(text, usual) {
			return slog.LevelDebug
		}
	}
	return slog.LevelWarn
}
