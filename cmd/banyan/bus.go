package main

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/broker"
	"github.com/banyanhq/banyan/topology"
)

// busFlags are what the bus that stands alone takes from its command line.
type busFlags struct {
	listen, http, dir, tokenFile, maxMessage string
	queues, topics, services                 []string
	clients                                  int
	verbose                                  bool
	node                                     uint64
	nodes                                    clusterFlags
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
its last second. With --node and --peer it is one of several nodes, which have each message on three of them before it is
acknowledged by two. 'push' of the file takes a running system ('banyan up').`,
		Example: `  banyan bus --queue payments --topic order-placed
  banyan bus --queue 'payments: {ack_wait: 10s, max_deliver: 3, dead_letter: payments-dead}' --dir /var/lib/bus
  nats --server 127.0.0.1:4222 request queues.payments '{"order": 7}'
  curl -d '{"order": 7}' http://127.0.0.1:4280/queues/payments/messages`,
		Args: cobra.NoArgs,
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
			node := ""
			if cfg.Cluster != nil {
				node = fmt.Sprintf("node %d of %d, ", cfg.Cluster.Node, len(cfg.Cluster.Peers))
			}
			fmt.Fprintf(c.out, "queues and topics on %s and %s, %sdata in %s\n", b.NATSURL(), b.HTTPURL(), node, cfg.Dir)
			for _, s := range b.Broker().Status() {
				fmt.Fprintf(c.out, "queue %s is %s\n", s.Name, s.Label)
			}
			for _, name := range slices.Sorted(maps.Keys(cfg.Topics)) {
				if engine := cfg.Topics[name].Engine; engine != "" {
					fmt.Fprintf(c.out, "topic %s is at %s\n", name, engine)
				}
			}
			return b.Run(cmd.Context())
		},
	}
	cmd.AddCommand(c.busBackup(), c.busRestore(), c.busNodes())
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:4222", "`address` for NATS clients")
	flags.StringVar(&f.http, "http", "127.0.0.1:4280", "`address` for HTTP clients")
	flags.StringVar(&f.dir, "dir", "banyan-bus", "`folder` for what is stored")
	flags.StringArrayVar(&f.queues, "queue", nil, "a queue: its `name`, and what it is after a colon; may be repeated")
	flags.StringArrayVar(&f.topics, "topic", nil, "a topic: its `name`, and what it is after a colon; may be repeated")
	flags.StringArrayVar(&f.services, "service", nil, "where a service is that the sagas of the file call: `NAME=URL`; may be repeated")
	flags.StringVar(&f.tokenFile, "token-file", "", "`file` whose first line clients must give as token")
	flags.StringVar(&f.maxMessage, "max-message", "1MiB", "how large a message with its headers may be, up to 8MiB")
	flags.IntVar(&f.clients, "clients", 10000, "connections at once to each address")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
	flags.Uint64Var(&f.node, "node", 0, "`number` of this node of a cluster, from 1")
	f.nodes.add(flags, "`NUMBER=HOST:PORT` at which the nodes of the cluster reach each other; once for each, this one too")
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
		for name, t := range sys.Topics {
			if t.From != nil {
				return cfg, usagef("the topic %s consists of the changes of tables.%s, which 'banyan up' runs beside it", name, t.From.Table)
			}
		}
		if cfg.Sagas, err = bus.SagasFromFile(sys); err != nil {
			return cfg, err
		}
		if cfg.ServiceURL, err = serviceURLs(sys, f.services); err != nil {
			return cfg, err
		}
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
	if len(cfg.Queues)+len(cfg.Topics)+len(cfg.Sagas) == 0 {
		return cfg, usagef("there is neither a queue, a topic nor a saga: name one with --queue or --topic, or a file that has some with -f")
	}
	if err := f.cluster(&cfg); err != nil {
		return cfg, err
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
		if cfg.Token, err = firstLine(f.tokenFile, "token"); err != nil {
			return cfg, err
		}
		if cfg.Token == "" {
			return cfg, usagef("--token-file %s: its first line is empty", f.tokenFile)
		}
	}
	return cfg, nil
}

// cluster is what the flags say of the other nodes.
func (f *busFlags) cluster(cfg *bus.Config) error {
	if f.node == 0 && len(f.nodes.peers) == 0 {
		if f.nodes.secretFile+f.nodes.authority+f.nodes.certificate+f.nodes.certificateKey != "" {
			return usagef("--secret-file, --tls-ca, --tls-cert and --tls-key are of a cluster: --node and --peer are missing")
		}
		for name, q := range cfg.Queues {
			if q.Durability == broker.Replicated {
				return usagef("queue %s: durability replicated takes several nodes: --node, and --peer for each, or 'banyan up'", name)
			}
		}
		for name, t := range cfg.Topics {
			if t.Durability == broker.Replicated {
				return usagef("topic %s: durability replicated takes several nodes: --node, and --peer for each, or 'banyan up'", name)
			}
		}
		return nil
	}
	peers, err := f.nodes.numbered(f.node)
	if err != nil {
		return err
	}
	caller, err := f.nodes.caller()
	if err != nil {
		return err
	}
	cfg.Cluster = &bus.Cluster{Node: f.node, Peers: peers, Secret: caller.Secret, TLS: caller.TLS}
	return nil
}

// serviceURLs reads where the services are that sagas call, and requires all of them.
func serviceURLs(sys *topology.System, flags []string) (func(saga, service string) string, error) {
	urls := map[string]string{}
	for _, flag := range flags {
		name, text, _ := strings.Cut(flag, "=")
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
			return nil, usagef("--service %s: expected NAME=URL such as orders=http://127.0.0.1:8093", flag)
		}
		if sys.Services[name] == nil {
			return nil, usagef("--service %s: the file has no service %q", flag, name)
		}
		urls[name] = strings.TrimRight(text, "/")
	}
	for name, v := range sys.Sagas {
		for _, service := range v.Calls() {
			if urls[service] == "" {
				return nil, usagef("the saga %s calls %s: say where that is with --service %s=URL, or run the system with 'banyan up'", name, service, service)
			}
		}
	}
	return func(_, service string) string { return urls[service] }, nil
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
