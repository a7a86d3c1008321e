package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/policy/workqueue"
	"github.com/banyanhq/banyan/topology"
)

// queueClient asks a bus over HTTP.
type queueClient struct {
	cli            *cli
	url, tokenFile string
}

// add has the flags say which bus is asked.
func (q *queueClient) add(flags *pflag.FlagSet) {
	flags.StringVar(&q.url, "url", "", "`URL` of the bus (default: that of the system that runs here)")
	flags.StringVar(&q.tokenFile, "token-file", "", "`file` whose first line is the token of the bus")
}

func (c *cli) queue() *cobra.Command {
	q := &queueClient{cli: c}
	cmd := &cobra.Command{
		Use:     "queue",
		GroupID: "run",
		Short:   "Look after queues: depth, messages, dead letters, redrive",
		Long: `Look after the queues of the system that runs here, or of a 'banyan bus' at --url.

Dead letters are messages that were delivered in vain for the last time, or that a consumer gave up. They keep their payload,
headers and the history of their attempts, and are grouped by what they died of. 'redrive' puts them back where they died:
with --canary some of them first, and the others only if all of those were handled.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	q.add(cmd.PersistentFlags())
	cmd.AddCommand(q.list(), q.show(), q.dead(), q.redrive())
	return cmd
}

func (q *queueClient) list() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the queues with their depth, age and durability", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []broker.Status
			if err := q.call(cmd.Context(), "GET", "/queues", &all); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, all)
			}
			t := table{head: []string{"QUEUE", "READY", "DELAYED", "IN FLIGHT", "DEAD", "BYTES", "OLDEST", "DURABILITY"}}
			for _, s := range all {
				name := s.Name
				if !s.Declared {
					name += " (not in the file)"
				}
				t.row(name, strconv.Itoa(s.Ready), strconv.Itoa(s.Delayed), strconv.Itoa(s.InFlight), strconv.Itoa(s.Dead),
					topology.Bytes(s.Bytes).String(), s.OldestAge.Round(time.Millisecond).String(), string(s.Durability))
			}
			t.write(q.cli.out)
			return nil
		},
	}
}

func (q *queueClient) show() *cobra.Command {
	return &cobra.Command{
		Use: "show QUEUE [MESSAGE]", Short: "Show a queue, or one of its messages without taking it", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/queues/" + url.PathEscape(args[0])
			if len(args) == 2 {
				var m bus.Message
				if err := q.call(cmd.Context(), "GET", path+"/messages/"+url.PathEscape(args[1]), &m); err != nil {
					return err
				}
				if q.cli.json {
					return writeJSON(q.cli.out, m)
				}
				q.printMessage(m)
				return nil
			}
			var s broker.Status
			if err := q.call(cmd.Context(), "GET", path, &s); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, s)
			}
			out := q.cli.out
			fmt.Fprintf(out, "%s is %s\n", s.Name, s.Label)
			fmt.Fprintf(out, "%d ready, %d delayed, %d in flight, %d dead; %s; the oldest is %s old; %d consumers wait\n", s.Ready, s.Delayed, s.InFlight,
				s.Dead, topology.Bytes(s.Bytes), s.OldestAge.Round(time.Millisecond), s.Pulls)
			fmt.Fprintf(out, "since it began: %d put (%d duplicates and %d refused besides), %d delivered (%d again), %d acknowledged, %d failed, %d died, %d expired\n",
				s.Put, s.Duplicates, s.Refused, s.Delivered, s.Redelivered, s.Acked, s.Failed, s.Died, s.Expired)
			if s.Outlook != nil {
				fmt.Fprintln(out, s.Outlook)
			}
			if s.DeadLetter != "" {
				fmt.Fprintf(out, "dead letters go to %s\n", s.DeadLetter)
			}
			for _, schedule := range s.Schedules {
				fmt.Fprintln(out, describeSchedule(schedule, time.Now()))
			}
			return nil
		},
	}
}

// describeSchedule says when a schedule publishes next, by its own clock.
func describeSchedule(s broker.ScheduleStatus, now time.Time) string {
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		zone = time.UTC // of a bus that knows more zones
	}
	const clock = "2006-01-02 15:04:05 MST"
	line := fmt.Sprintf("schedule %s (%s", s.Name, s.Cron)
	if s.Zone != "" {
		line += " " + s.Zone
	}
	line += "): "
	if s.Next == nil {
		line += "nothing comes any more"
	} else {
		line += fmt.Sprintf("next at %s, in %s", s.Next.In(zone).Format(clock), max(s.Next.Sub(now).Round(time.Second), 0))
	}
	if s.Last != nil {
		line += ", last for " + s.Last.In(zone).Format(clock)
	}
	if s.Problem != "" {
		line += "; held back: " + printable(s.Problem, 200)
	}
	return line
}

type deadAnswer struct {
	Queue    string            `json:"queue"`
	In       string            `json:"in"`
	Groups   []workqueue.Group `json:"groups"`
	Messages []bus.Message     `json:"messages"`
}

func (q *queueClient) dead() *cobra.Command {
	var signature string
	var messages int
	cmd := &cobra.Command{
		Use: "dead QUEUE", Short: "Say what messages of a queue died of, and show some", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a deadAnswer
			v := url.Values{"max": {strconv.Itoa(messages)}}
			if signature != "" {
				v.Set("signature", signature)
			}
			if err := q.call(cmd.Context(), "GET", "/queues/"+url.PathEscape(args[0])+"/dead?"+v.Encode(), &a); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, a)
			}
			if len(a.Groups) == 0 {
				fmt.Fprintf(q.cli.out, "no dead letters of %s\n", a.Queue)
				return nil
			}
			fmt.Fprintf(q.cli.out, "dead letters of %s, in %s:\n", a.Queue, a.In)
			t := table{head: []string{"COUNT", "SIGNATURE", "LAST", "EXAMPLE"}, left: 4}
			for _, g := range a.Groups {
				t.row(strconv.Itoa(g.Count), printable(g.Signature, 60), time.Unix(0, int64(g.Last)).Format(time.DateTime), fmt.Sprintf("%d: %s", g.ExampleSeq, printable(g.Example, 60)))
			}
			t.write(q.cli.out)
			for _, m := range a.Messages {
				fmt.Fprintln(q.cli.out)
				q.printMessage(m)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&signature, "signature", "", "only those of this `signature`")
	cmd.Flags().IntVar(&messages, "messages", 0, "show so many of them whole")
	return cmd
}

// printable bounds what strangers wrote, and takes out what would do something to a terminal.
func printable(s string, most int) string {
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if r := []rune(q); len(r) > most {
		q = string(r[:most-1]) + "…"
	}
	return q
}

func (q *queueClient) printMessage(m bus.Message) {
	out := q.cli.out
	fmt.Fprintf(out, "message %d, published %s", m.Seq, m.Published.Local().Format(time.DateTime))
	if m.Key != "" {
		fmt.Fprintf(out, ", key %s", printable(m.Key, 80))
	}
	if m.Origin != "" {
		fmt.Fprintf(out, ", was %d in %s", m.OriginSeq, m.Origin)
	}
	fmt.Fprintln(out)
	for name, value := range m.Headers {
		fmt.Fprintf(out, "  %s: %s\n", printable(name, 80), printable(value, 200))
	}
	if m.Body != nil {
		fmt.Fprintf(out, "  body: %s\n", printable(*m.Body, 2000))
	} else {
		fmt.Fprintf(out, "  body: %d bytes that are not text\n", len(m.BodyBase64))
	}
	for i, a := range m.Attempts {
		fmt.Fprintf(out, "  attempt %d, %s, after %s: %s\n", i+1, a.At.Local().Format(time.DateTime), a.Ended.Sub(a.At).Round(time.Millisecond), printable(a.Reason, 200))
	}
}

func (q *queueClient) redrive() *cobra.Command {
	var signature string
	var canary int
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "redrive QUEUE", Short: "Put dead letters back to where they died", Args: cobra.ExactArgs(1),
		Example: `  banyan queue redrive payments --canary 10
  banyan queue redrive payments --signature 'card # refused'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := redriver{q: q, queue: args[0], signature: signature}
			if canary > 0 {
				ok, err := r.canary(cmd.Context(), canary, wait)
				if err != nil || !ok {
					return err
				}
			}
			return r.rest(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&signature, "signature", "", "only those of this `signature`")
	cmd.Flags().IntVar(&canary, "canary", 0, "put back so many first, and the others only if all of them were handled")
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for the canaries")
	return cmd
}

type redriver struct {
	q                *queueClient
	queue, signature string
}

func (r redriver) move(ctx context.Context, most int) (out broker.Redrive, err error) {
	v := url.Values{"max": {strconv.Itoa(most)}}
	if r.signature != "" {
		v.Set("signature", r.signature)
	}
	return out, r.q.call(ctx, "POST", "/queues/"+url.PathEscape(r.queue)+"/redrive?"+v.Encode(), &out)
}

// canary puts some back and waits for what becomes of them; false if not all were handled.
func (r redriver) canary(ctx context.Context, n int, wait time.Duration) (bool, error) {
	sample, err := r.move(ctx, n)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for sample.Waiting > 0 && sample.Died == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, fmt.Errorf("of %d canaries %d were handled and %d are still on their way after %s; the other %d dead letters stay", sample.Moved, sample.Acked, sample.Waiting, wait, sample.Left)
		}
		if err := r.q.call(ctx, "GET", "/queues/"+url.PathEscape(r.queue)+"/redrives/"+sample.ID, &sample); err != nil {
			return false, err
		}
	}
	if sample.Acked < sample.Moved {
		if r.q.cli.json {
			_ = writeJSON(r.q.cli.out, sample)
		} else {
			fmt.Fprintf(r.q.cli.out, "of %d canaries %d were handled and %d died again; the other %d dead letters stay\n", sample.Moved, sample.Acked, sample.Died, sample.Left)
		}
		return false, errNo
	}
	if !r.q.cli.json {
		fmt.Fprintf(r.q.cli.out, "%d canaries were handled\n", sample.Acked)
	}
	return true, nil
}

func (r redriver) rest(ctx context.Context) error {
	done, err := r.move(ctx, 0)
	if err != nil {
		return err
	}
	if r.q.cli.json {
		return writeJSON(r.q.cli.out, done)
	}
	fmt.Fprintf(r.q.cli.out, "%d dead letters were put back", done.Moved)
	if done.Left > 0 {
		fmt.Fprintf(r.q.cli.out, ", %d are left: the queue is full, or their queue is gone", done.Left)
	}
	fmt.Fprintln(r.q.cli.out)
	return nil
}

// call asks the bus, and reads its answer.
func (q *queueClient) call(ctx context.Context, method, path string, into any) error {
	return q.send(ctx, method, path, nil, into)
}

// send asks the bus with a body.
func (q *queueClient) send(ctx context.Context, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := q.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("asking the bus: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("asking the bus: %w", err)
	}
	if answer.StatusCode/100 != 2 {
		return busError(answer.Status, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading the answer of the bus: %w", err)
	}
	return nil
}

// request to the bus, with its token.
func (q *queueClient) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	base := q.url
	if base == "" {
		_, info, err := q.cli.running(ctx)
		if err != nil {
			return nil, err
		}
		if base = info.Bus; base == "" {
			return nil, fmt.Errorf("%s has neither queues nor sagas", info.System)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(base, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	if q.tokenFile == "" {
		return r, nil
	}
	token, err := firstLine(q.tokenFile, "token")
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r, nil
}

// busError is what the bus says of a request that it refuses.
func busError(status string, text []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		said.Error = status
	}
	return fmt.Errorf("the bus says: %s", said.Error)
}
