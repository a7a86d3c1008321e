package metrics

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// crashDir names the directory in which TestMain's child appends until it is killed.
const crashDir = "BANYAN_METRICS_CRASH"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		appendForever(dir)
		return
	}
	os.Exit(m.Run())
}

// appendForever commits one sample after the other and says each when it is committed. Its series are its own: the process before it may
// have appended further into the time of this one's samples, and of two values at one time the first stays.
func appendForever(dir string) {
	s, err := Open(Config{Dir: dir})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	start, process := time.Now().UnixMilli(), strconv.Itoa(os.Getpid())
	for i := int64(0); ; i++ {
		b := s.Begin(context.Background(), "crash")
		b.Append(labels.FromStrings("__name__", "n", "process", process, "series", strconv.FormatInt(i%10, 10)), Sample{T: start + i, V: float64(i)})
		if _, err := b.Commit(); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println(i)
	}
}

// A process that is killed loses nothing that it had committed.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := -1
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(lines.Text())
			}
			if last = n; n == 500*(round+1) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // it was killed: that is its error
		s, err := Open(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		got := dump(t, s, matcher(t, "__name__", "n"))
		if want := fmt.Sprintf(" %d@", last); !strings.Contains(got, want) {
			t.Errorf("round %d: the sample %d was committed and is gone", round, last)
		}
		if n := strings.Count(got, "@"); n < last+1 {
			t.Errorf("round %d: %d samples: want at least %d", round, n, last+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
