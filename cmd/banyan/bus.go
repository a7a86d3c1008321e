package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/topology"
)

// busFlags are what the bus that stands alone takes from its command line.
type busFlags struct {
	listen, http, dir, tokenFile, maxMessage string
	queues, topics                           []string
	clients                                  int
	verbose                                  bool
}

func (c *cli) bus() *cobra.Command {
	var f busFlags
	cmd := &cobra.Command{
		Use:     "bus",
		GroupID: "run",
		Short:   "Run queues and topics alone, for any NATS client and over HTTP",
		Long: `Run queues and topics alone: those of the file with -f, those that --queue and --topic name, or both. What a queue is
may follow its name, in the words of the file ('banyan explain queues.NAME'). Clients publish to queues.NAME or
topics.NAME, and consume from a JetStream stream called NAME; or they use HTTP, see docs/bus.md.

Nothing that was acknowledged is lost when the process is killed; with 'durability: relaxed' a machine that dies loses up to
its last second. 'push' of the file takes a running system ('banyan up').`,
		Example: `  banyan bus --queue payments --topic order-placed
  banyan bus --queue 'payments: {ack_wait: 10s, max_deliver: 3, dead_letter: payments-dead}' --dir /var/lib/bus
  nats --server 127.0.0.1:4222 request queues.payments '{"order": 7}'
  curl -d '{"order": 7}' http://127.0.0.1:4280/queues/payments/messages`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.busConfig(f)
			if err != nil {
				return err
			}
			b, err := bus.New(cfg)
			if err != nil {
				return err
			}
			if err := b.Listen(); err != nil {
				return err
			}
			fmt.Fprintf(c.out, "queues and topics on %s and %s, data in %s\n", b.NATSURL(), b.HTTPURL(), cfg.Dir)
			for _, s := range b.Broker().Status() {
				fmt.Fprintf(c.out, "queue %s is %s\n", s.Name, s.Label)
			}
			return b.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:4222", "`address` for NATS clients")
	flags.StringVar(&f.http, "http", "127.0.0.1:4280", "`address` for HTTP clients")
	flags.StringVar(&f.dir, "dir", "banyan-bus", "`folder` for what is stored")
	flags.StringArrayVar(&f.queues, "queue", nil, "a queue: its `name`, and what it is after a colon; may be repeated")
	flags.StringArrayVar(&f.topics, "topic", nil, "a topic: its `name`, and what it is after a colon; may be repeated")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` whose first line clients must give as token")
	flags.StringVar(&f.maxMessage, "max-message", "1MiB", "how large a message with its headers may be, up to 8MiB")
	flags.IntVar(&f.clients, "clients", 10000, "connections at once to each address")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	return cmd
}

// busConfig joins the flags with what the file says.
func (c *cli) busConfig(f busFlags) (bus.Config, error) {
	cfg := bus.Config{Dir: f.dir, NATS: f.listen, HTTP: f.http, MaxClients: f.clients, Log: c.logger(f.verbose),
		Queues: map[string]bus.Queue{}, Topics: map[string]bus.Topic{}}
	if len(c.files) > 0 {
		sys, err := topology.Load(c.files...)
		if err != nil {
			return cfg, wrongUse{err}
		}
		cfg.Queues, cfg.Topics = bus.FromFile(sys)
	}
	if len(f.queues)+len(f.topics) > 0 {
		sys, err := describedBlocks(f.queues, f.topics)
		if err != nil {
			return cfg, err
		}
		queues, topics := bus.FromFile(sys)
		for name, q := range queues {
			cfg.Queues[name] = q
		}
		for name, t := range topics {
			cfg.Topics[name] = t
		}
	}
	if len(cfg.Queues)+len(cfg.Topics) == 0 {
		return cfg, usagef("there is neither a queue nor a topic: name one with --queue or --topic, or a file that has some with -f")
	}
	for name, q := range cfg.Queues {
		if q.Durability == broker.Replicated {
			return cfg, usagef("queue %s: durability replicated: not supported yet; durable is what one node can do", name)
		}
	}
	size, err := topology.ParseBytes(f.maxMessage)
	if err != nil {
		return cfg, usagef("--max-message: %w", err)
	}
	if size < 1 || size > 8<<20 {
		return cfg, usagef("--max-message %s: expected 1B to 8MiB", f.maxMessage)
	}
	cfg.MaxMessage = int(size)
	if f.tokenFile != "" {
		b, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return cfg, fmt.Errorf("reading the token: %w", err)
		}
		if cfg.Token, _, _ = strings.Cut(strings.TrimRight(string(b), "\r\n"), "\n"); cfg.Token == "" {
			return cfg, usagef("--token-file %s: its first line is empty", f.tokenFile)
		}
	}
	return cfg, nil
}

// describedBlocks reads queues and topics from flags as if they stood in a file, so that the file's rules hold for them.
func describedBlocks(queues, topics []string) (*topology.System, error) {
	var text strings.Builder
	text.WriteString("version: 1\nsystem: bus\nservices: {none: {run: none}}\nroutes: [{path: /, to: none}]\n")
	for _, kind := range []struct {
		name  string
		flags []string
	}{{"queues", queues}, {"topics", topics}} {
		if len(kind.flags) > 0 {
			text.WriteString(kind.name + ":\n")
		}
		for _, flag := range kind.flags {
			name, what, _ := strings.Cut(flag, ":")
			if what = strings.TrimSpace(what); what == "" {
				what = "{}"
			}
			if strings.ContainsAny(flag, "\r\n") {
				return nil, usagef("%q: more than one line", flag)
			}
			fmt.Fprintf(&text, "  %s: %s\n", strings.TrimSpace(name), what)
		}
	}
	sys, err := topology.Parse(topology.Source{Name: "flags", Data: []byte(text.String())})
	if err != nil {
		return nil, wrongUse{err}
	}
	return sys, nil
}
