package cache

import (
	"context"
	"fmt"
	"strings"
	"time"
)

var persistCommands = []command{
	{name: "save", arity: 1, flags: "admin", run: (*call).save},
	{name: "bgsave", arity: -1, flags: "admin", run: (*call).bgSave},
	{name: "bgrewriteaof", arity: 1, flags: "admin", run: (*call).bgRewrite},
	{name: "lastsave", arity: 1, flags: "fast", groups: "admin dangerous", run: (*call).lastSave},
}

// Persists says what is kept on disk, with its defaults filled in.
func (s *Server) Persists() Persist { return s.cfg.Persist }

// restore opens the files that the server is kept in, and loads what is there.
func (s *Server) restore() (err error) {
	if !s.cfg.Persist.on() {
		return nil
	}
	if s.keep, err = openKeeper(s.cfg.Persist, &s.mu, s.store, s.cfg.Log); err != nil {
		return fmt.Errorf("restoring the cache: %w", err)
	}
	s.keep.jobs.lastSave = time.Now().Unix()
	s.keep.tell = s.tellSynced
	return nil
}

// keepFiles runs the keeper until ctx ends.
func (s *Server) keepFiles(ctx context.Context) error {
	if s.keep == nil {
		return nil
	}
	return s.keep.run(ctx)
}

// closeFiles closes the files, when nobody changes anything any more.
func (s *Server) closeFiles() error {
	if s.keep == nil {
		return nil
	}
	return s.keep.close()
}

// tellSynced has all loops look at those who wait for a sync.
func (s *Server) tellSynced() {
	for _, l := range s.loops {
		l.synced()
	}
}

// noFiles answers where nothing is kept.
func (k *call) noFiles() bool {
	if k.s.keep == nil {
		k.fail("ERR nothing is kept on disk: the cache was started without a folder for it")
	}
	return k.s.keep == nil
}

// save has a snapshot be written, and answers when it is. Other clients go on meanwhile.
func (k *call) save() {
	if k.noFiles() {
		return
	}
	keep := k.s.keep
	switch {
	case k.c.tx != nil && k.c.tx.open:
		k.fail("ERR Command not allowed inside a transaction")
		return
	case keep.jobs.saving:
		k.fail("ERR Background save already in progress")
		return
	}
	w := &waiting{c: k.c, cmd: k.cmd}
	k.c.blocked, k.block = w, w
	s, v3 := k.s, k.v3
	keep.jobs.wantSave = true
	keep.jobs.waiters = append(keep.jobs.waiters, func(err error) {
		if w.c.blocked != w {
			return // it did not wait for so long
		}
		answer := call{s: s, c: w.c, cmd: w.cmd, v3: v3}
		if err != nil {
			answer.fail("ERR " + err.Error())
		} else {
			answer.ok()
		}
		s.wake(w, answer.out)
	})
	wake(keep.work)
}

func (k *call) bgSave() {
	later := len(k.args) == 2 && k.is(1, "SCHEDULE")
	if len(k.args) > 1 && !later {
		k.syntax()
		return
	}
	if k.noFiles() {
		return
	}
	j := &k.s.keep.jobs
	switch {
	case j.saving:
		k.fail("ERR Background save already in progress")
	case j.rewriting && !later:
		k.fail("ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.")
	default:
		busy := j.busy()
		j.wantSave = true
		wake(k.s.keep.work)
		if busy {
			k.simple("Background saving scheduled")
		} else {
			k.simple("Background saving started")
		}
	}
}

func (k *call) bgRewrite() {
	if k.noFiles() {
		return
	}
	keep := k.s.keep
	switch {
	case !keep.appends():
		k.fail("ERR no append file is kept")
	case keep.jobs.rewriting || keep.jobs.wantRewrite:
		k.fail("ERR Background append only file rewriting already in progress")
	default:
		busy := keep.jobs.busy()
		keep.jobs.wantRewrite = true
		wake(keep.work)
		if busy {
			k.simple("Background append only file rewriting scheduled")
		} else {
			k.simple("Background append only file rewriting started")
		}
	}
}

// lastSave answers when the last snapshot was written or, as Redis does, when the server began.
func (k *call) lastSave() {
	if k.s.keep == nil {
		k.int64(time.Now().Add(-k.s.elapsed()).Unix())
		return
	}
	k.int64(k.s.keep.jobs.lastSave)
}

// infoPersistence tells INFO what is kept.
func (s *Server) infoPersistence(b *strings.Builder) {
	k := s.keep
	if k == nil {
		b.WriteString("loading:0\r\nrdb_bgsave_in_progress:0\r\naof_enabled:0\r\n")
		return
	}
	j := &k.jobs
	status := func(err error) string {
		if err != nil {
			return "err"
		}
		return "ok"
	}
	seconds := func(running bool, took time.Duration) (now, last int64) {
		now, last = -1, -1
		if running {
			now = int64(time.Since(j.begun).Seconds())
		}
		if took > 0 {
			last = int64(took.Seconds())
		}
		return now, last
	}
	bit := map[bool]int{true: 1}
	saveNow, saveLast := seconds(j.saving, j.saveTook)
	rewriteNow, rewriteLast := seconds(j.rewriting, j.rewriteTook)
	fmt.Fprintf(b, "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:%d\r\nrdb_bgsave_in_progress:%d\r\nrdb_last_save_time:%d\r\nrdb_last_bgsave_status:%s\r\n",
		s.store.Changes-j.savedChanges, bit[j.saving], j.lastSave, status(j.saveErr))
	fmt.Fprintf(b, "rdb_last_bgsave_time_sec:%d\r\nrdb_current_bgsave_time_sec:%d\r\nrdb_saves:%d\r\n", saveLast, saveNow, j.saves)
	fmt.Fprintf(b, "aof_enabled:%d\r\naof_rewrite_in_progress:%d\r\naof_rewrite_scheduled:%d\r\naof_last_rewrite_time_sec:%d\r\naof_current_rewrite_time_sec:%d\r\n",
		bit[k.appends()], bit[j.rewriting], bit[j.wantRewrite], rewriteLast, rewriteNow)
	fmt.Fprintf(b, "aof_last_bgrewrite_status:%s\r\naof_last_write_status:%s\r\n", status(j.rewriteErr), status(k.broken))
	if k.appends() {
		fmt.Fprintf(b, "aof_current_size:%d\r\naof_base_size:%d\r\naof_fsync:%s\r\naof_last_fsync_us:%d\r\naof_unsynced_bytes:%d\r\n", k.size.Load(), j.baseSize, k.policy,
			k.lastSync.Microseconds(), s.store.Written()-k.durable.Load())
	}
}

// fromKeeper is a parameter of CONFIG about what is kept, with its value where nothing is.
func fromKeeper(otherwise string, get func(*keeper) string) parameter {
	return parameter{get: func(s *Server) string {
		if s.keep == nil {
			return otherwise
		}
		return get(s.keep)
	}}
}

// saveRule is the value of Redis's "save": after how many seconds a snapshot is written if that many keys have changed.
func (k *keeper) saveRule() string {
	if k.cfg.Snapshot == 0 {
		return ""
	}
	return fmt.Sprintf("%d 1", max(1, int64(k.cfg.Snapshot.Seconds())))
}

func (k *keeper) appendOnly() string {
	if k.appends() {
		return "yes"
	}
	return "no"
}

// setFsync changes the policy by which the append file is synced. What was answered before is synced by the former one.
func setFsync(s *Server, v string) string {
	v = strings.ToLower(v)
	switch {
	case v != appendAlways && v != appendSecond && v != appendNo:
		return "argument(s) must be one of the following: everysec, always, no"
	case s.keep == nil || !s.keep.appends():
		return "no append file is kept"
	}
	s.keep.policy = v
	return ""
}
