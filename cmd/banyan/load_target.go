package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/load"
	"github.com/banyanhq/banyan/topology"
)

// targetFlags say what is asked of a URL that is not HTTP/1.1, and how it is reached.
type targetFlags struct {
	commands                  []string
	send, hex, until, match   string
	length, messages, streams int
	call, descriptors, action string
	publish                   bool
	ca                        string
	insecure                  bool
	catchUp                   string
	stages, thinkTimes        string
}

func (t *targetFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&t.commands, "command", nil, "redis://: a command, such as 'GET key:{{seq}}'; several are pipelined")
	fl.StringVar(&t.send, "send", "", `tcp://, ws://: what is sent, such as 'PING\r\n'`)
	fl.StringVar(&t.hex, "hex", "", "tcp://, grpc://: what is sent, as hexadecimal digits")
	fl.StringVar(&t.until, "until", "", "tcp://: `text` that ends an answer")
	fl.StringVar(&t.match, "match", "", "tcp://: regular expression that a whole answer matches; ws://: that the awaited message matches")
	fl.IntVar(&t.length, "length-bytes", 0, "tcp://: length of an answer")
	fl.StringVar(&t.call, "call", "", "grpc://: method, such as shop.Catalog/Get (or the URL's path); --body is its message as JSON")
	fl.StringVar(&t.descriptors, "descriptors", "", "grpc://: `file` with a FileDescriptorSet (default: the server is asked by reflection)")
	fl.IntVar(&t.messages, "messages", 0, "grpc://: messages that are sent in one call (default 1)")
	fl.IntVar(&t.streams, "streams", 0, "HTTP/2, gRPC: requests that share a connection (default 100; users have one each)")
	fl.BoolVar(&t.publish, "publish", false, "nats://host/subject: publish, and ask for no answer")
	fl.StringVar(&t.action, "action", "", "dynamodb://: action, such as GetItem; --body is its input")
	fl.StringVar(&t.ca, "ca", "", "TLS: trust the certificates in this `file` (PEM)")
	fl.BoolVar(&t.insecure, "insecure", false, "TLS: take any certificate")
	fl.StringVar(&t.catchUp, "catch-up", "", "open load: all (default) sends what is late at once, skip leaves out what is later than 10ms, capped sends it at twice the rate at most")
	fl.StringVar(&t.stages, "stages", "", "open load with a changing rate, such as 'ramp 100/s 10s, step 200/s 30s, spike 1000/s 5s, sine 200/s 1m 150/s 20s'")
	fl.StringVar(&t.thinkTimes, "think-times", "", "distribution of pauses: exponential (default), constant, uniform or lognormal")
}

// parseStages reads stages with commas between them: SHAPE RATE DURATION, and of a sine AMPLITUDE PERIOD.
func parseStages(text string) (out []topology.Stage, err error) {
	if text == "" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		words := strings.Fields(part)
		if want := 3; len(words) != want && !(len(words) == 5 && words[0] == "sine") {
			return nil, usagef("--stages: %q: want SHAPE RATE DURATION, and of a sine AMPLITUDE PERIOD too", strings.TrimSpace(part))
		}
		s := topology.Stage{Shape: words[0]}
		if s.Rate, err = topology.ParseRate(words[1]); err == nil {
			s.Duration, err = topology.ParseDuration(words[2])
		}
		if err == nil && len(words) == 5 {
			if s.Amplitude, err = topology.ParseRate(words[3]); err == nil {
				s.Period, err = topology.ParseDuration(words[4])
			}
		}
		if err != nil {
			return nil, usagef("--stages: %q: %w", strings.TrimSpace(part), err)
		}
		out = append(out, s)
	}
	return out, nil
}

// adHoc adds what a URL is asked for.
func (t *targetFlags) adHoc(o *load.AdHocOptions) (err error) {
	o.Commands, o.Send, o.Hex, o.Until, o.Match, o.Length = t.commands, t.send, t.hex, t.until, t.match, t.length
	o.Call, o.Descriptors, o.Messages, o.Publish, o.Action = t.call, t.descriptors, t.messages, t.publish, t.action
	o.ThinkTimes = t.thinkTimes
	o.Stages, err = parseStages(t.stages)
	return err
}

// override replaces what the file says.
func (t *targetFlags) override(w *topology.Workload) error {
	stages, err := parseStages(t.stages)
	if err != nil {
		return err
	}
	if stages != nil {
		w.Stages, w.Rate, w.Users, w.Trace = stages, 0, 0, nil
	}
	if t.thinkTimes != "" {
		w.ThinkTimes = t.thinkTimes
	}
	return nil
}

// apply sets how targets are reached.
func (t *targetFlags) apply(cfg *load.Config) error {
	cfg.Streams, cfg.CatchUp = t.streams, t.catchUp
	if t.ca == "" && !t.insecure {
		return nil
	}
	if len(cfg.Workers) > 0 {
		return usagef("--ca and --insecure do not reach workers: install the certificate on their machines")
	}
	cfg.TLS = &tls.Config{InsecureSkipVerify: t.insecure}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		if cfg.TLS.RootCAs = x509.NewCertPool(); !cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return usagef("--ca %s: holds no certificate in PEM", t.ca)
		}
	}
	return nil
}
