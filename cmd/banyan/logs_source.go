package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/app"
	"github.com/banyanhq/banyan/app/control"
	"github.com/banyanhq/banyan/observe/logs"
	"github.com/banyanhq/banyan/observe/segment"
)

// logSource answers questions about logs: the system that runs, or what one has left.
type logSource struct {
	base string     // of the one that runs
	left *logs.Logs // what one has left
}

// telemetryBase is the address of the system that runs in a state directory; "" if none does.
func telemetryBase(ctx context.Context, dir string) string {
	info, err := control.Dial(dir).Info(ctx)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(info.Metrics, "/metrics")
}

func (c *cli) logSource(ctx context.Context, dir string) (*logSource, error) {
	if base := telemetryBase(ctx, dir); base != "" {
		return &logSource{base: base}, nil
	}
	left, err := logs.Open(logs.Config{Dir: app.LogsDir(dir), ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no logs are kept here yet: 'banyan up' keeps them")
	}
	return &logSource{left: left}, err
}

func (s *logSource) close() {
	if s.left != nil {
		_ = s.left.Close() // it was only read
	}
}

func (s *logSource) search(ctx context.Context, search logs.Search, query string) (answer logs.Answer, err error) {
	if s.left != nil {
		entries, stats, err := s.left.Search(ctx, search)
		return logs.Answer{Entries: entries, Blocks: stats.Blocks, Skipped: stats.Skipped, Damaged: stats.Damaged}, err
	}
	v := searchValues(search, query)
	v.Set("limit", strconv.Itoa(search.Limit))
	return answer, getJSON(ctx, s.base+"/logs/search?"+v.Encode(), &answer)
}

func searchValues(search logs.Search, query string) url.Values {
	return url.Values{"query": {query}, "from": {search.From.Format(time.RFC3339Nano)}, "to": {search.To.Format(time.RFC3339Nano)}}
}

func (s *logSource) histogram(ctx context.Context, search logs.Search, query string, step time.Duration, by string) (bars []logs.Bar, err error) {
	if s.left != nil {
		return s.left.Histogram(ctx, search, step, by)
	}
	v := searchValues(search, query)
	v.Set("step", step.String())
	v.Set("by", by)
	return bars, getJSON(ctx, s.base+"/logs/histogram?"+v.Encode(), &bars)
}

func (s *logSource) follow(ctx context.Context, _ segment.Filter, query string, each func(logs.Entry) error) error {
	if s.left != nil {
		return errors.New("the system does not run: there is nothing to follow")
	}
	resp, err := fetch(ctx, s.base+"/logs/follow?"+url.Values{"query": {query}}.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e logs.Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("following the logs: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

// get asks the system that runs; an answer other than 200 is an error.
func fetch(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the system: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var said struct{ Error string }
	_ = json.Unmarshal(text, &said) // else it is shown as it is
	return nil, fmt.Errorf("the system answers %s: %s", resp.Status, cmp.Or(said.Error, strings.TrimSpace(string(text))))
}

func getJSON(ctx context.Context, address string, into any) error {
	resp, err := fetch(ctx, address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the system's answer: %w", err)
	}
	return nil
}

// groupsText shows the parts of a bar, the largest first.
func groupsText(groups map[string]int64) string {
	var names []string
	for n := range groups {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(groups[b], groups[a]), cmp.Compare(a, b)) })
	const shown = 6
	var b strings.Builder
	for i, n := range names {
		if i == shown {
			fmt.Fprintf(&b, "and %d others", len(names)-shown)
			break
		}
		fmt.Fprintf(&b, "%s %d  ", logs.Printable(n), groups[n])
	}
	return b.String()
}
