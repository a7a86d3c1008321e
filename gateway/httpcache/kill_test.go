package httpcache

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const killDir = "HTTPCACHE_KILL_DIR"

// killBody is long enough that a file takes more than one write, and tells whose it is.
func killBody(path string) string { return strings.Repeat(path+"\n", 3000) }

func killOrigin(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "max-age=600")
	w.Header().Set("Content-Type", "text/plain")
	_, err := w.Write([]byte(killBody(r.URL.Path)))
	return err
}

// TestKillChild is the process that the test below kills: it stores answers without end, and says which.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("a part of TestDiskSurvivesKill")
	}
	c, err := New(Config{Dir: dir, Disk: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	z := c.Zone("child", Rules{})
	for i := 0; ; i++ {
		path := fmt.Sprintf("/%d", i%300)
		z.Serve(discard{http.Header{}}, newRequest("GET http://x"+path), killOrigin)
		c.store.drop(mustPick(c, path)) // so that it is written again
		fmt.Printf("stored %s\n", path)
	}
}

func mustPick(c *Cache, path string) *object {
	o, _ := c.store.pick([]byte("x"+path), nil, http.Header{})
	return o
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// A cache that is killed in the midst of writing comes back with whole answers only: what it serves is what was stored,
// nothing half-written is left, and the budget holds.
func TestDiskSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	served := 0
	for round := range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 60+37*round && lines.Scan(); n++ {
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		c, err := New(Config{Dir: dir, Disk: 4 << 20, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Open(); err != nil {
			t.Fatal(err)
		}
		var total int64
		for _, f := range files(t, dir) {
			if strings.HasSuffix(f, tempSuffix) {
				t.Errorf("round %d: %s is left", round, filepath.Base(f))
			}
			if info, err := os.Stat(f); err == nil {
				total += info.Size()
			}
		}
		if total > 4<<20 {
			t.Errorf("round %d: %d bytes on disk", round, total)
		}
		z := c.Zone("parent", Rules{})
		for i := range 300 {
			path := fmt.Sprintf("/%d", i)
			w := &recorded{discard: discard{http.Header{}}}
			z.Serve(w, newRequest("GET http://x"+path, "Cache-Control: only-if-cached"), killOrigin)
			if w.code == 200 {
				served++
				if string(w.body) != killBody(path) {
					t.Errorf("round %d: %s is answered with %d bytes that are not its own", round, path, len(w.body))
				}
			}
		}
		c.Close()
	}
	if served == 0 {
		t.Error("nothing survived")
	}
	t.Logf("%d answers survived", served)
}

type recorded struct {
	discard
	code int
	body []byte
}

func (r *recorded) WriteHeader(code int) { r.code = code }
func (r *recorded) Write(p []byte) (int, error) {
	r.body = append(r.body, p...)
	return len(p), nil
}
