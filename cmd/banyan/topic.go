package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/schema"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) topic() *cobra.Command {
	q := &queueClient{cli: c}
	cmd := &cobra.Command{
		Use:     "topic",
		GroupID: "run",
		Short:   "Look after topics: what they hold, consumer groups, schemas",
		Long: `Look after the topics of the system that runs here, or of a 'banyan bus' at --url.

A topic may have a JSON Schema: events that do not have it are refused. A new version of it must be compatible with the one
before, as 'compatibility' of the topic says. A schema stands in the file, or is registered with 'banyan topic schema register'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	q.add(cmd.PersistentFlags())
	cmd.AddCommand(q.listTopics(), q.topicSchema())
	return cmd
}

func (q *queueClient) listTopics() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the topics with their size, groups and schema", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var all []bus.TopicStatus
			if err := q.call(cmd.Context(), "GET", "/topics", &all); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, all)
			}
			t := table{head: []string{"TOPIC", "EVENTS", "BYTES", "OFFSETS", "SCHEMA", "GROUPS AND THEIR LAG"}, left: 6}
			for _, s := range all {
				if s.Error != "" {
					t.row(s.Name, "-", "-", "-", "-", "out of reach: "+printable(s.Error, 300))
					continue
				}
				groups := ""
				for _, g := range s.Groups {
					groups += fmt.Sprintf("%s %d, ", g.Name, g.Lag)
				}
				version := "-"
				if s.Schema > 0 {
					version = "v" + strconv.Itoa(s.Schema)
				}
				t.row(s.Name, strconv.FormatUint(s.Events, 10), bytesOf(s), offsetsOf(s), version, groups[:max(len(groups)-2, 0)])
			}
			t.write(q.cli.out)
			return nil
		},
	}
}

// bytesOf says how large a topic is, if its engine does.
func bytesOf(s bus.TopicStatus) string {
	if len(s.Partitions) > 0 {
		return "-"
	}
	return topology.Bytes(s.Bytes).String()
}

// offsetsOf says which offsets a topic has, of each partition where there are several.
func offsetsOf(s bus.TopicStatus) string {
	if len(s.Partitions) < 2 {
		return fmt.Sprintf("%d-%d", s.First, s.Last)
	}
	if len(s.Partitions) > 4 {
		return fmt.Sprintf("%d partitions", len(s.Partitions))
	}
	var all []string
	for _, p := range s.Partitions {
		all = append(all, fmt.Sprintf("%d:%d-%d", p.Partition, p.First, int64(p.End)-1))
	}
	return strings.Join(all, " ")
}

func (q *queueClient) topicSchema() *cobra.Command {
	cmd := &cobra.Command{
		Use: "schema", Short: "Show, check and register the schemas of topics",
		Example: `  banyan topic schema show order-placed
  banyan topic schema check order-placed new.schema.json
  banyan topic schema register order-placed new.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(q.showSchema(), q.schemaVersions(), q.checkSchema(), q.registerSchema())
	return cmd
}

func schemaPath(topic string) string { return "/topics/" + url.PathEscape(topic) + "/schema" }

func (q *queueClient) showSchema() *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use: "show TOPIC", Short: "Print the schema of a topic", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := schemaPath(args[0])
			if version > 0 {
				path += "/versions/" + strconv.Itoa(version)
			}
			var s bus.TopicSchema
			if err := q.call(cmd.Context(), "GET", path, &s); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, s)
			}
			text, err := schemaText(s)
			if err != nil {
				return fmt.Errorf("printing the schema: %w", err)
			}
			_, err = fmt.Fprintf(q.cli.out, "%s\n", text) // so that it can go into a file
			return err
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "this `version` rather than the latest")
	return cmd
}

// schemaText is a schema as it would stand in a file.
func schemaText(s bus.TopicSchema) (string, error) {
	if s.Format == schema.FormatProtobuf {
		var text string
		err := json.Unmarshal(s.Schema, &text)
		return strings.TrimRight(text, "\n"), err
	}
	text, err := json.MarshalIndent(s.Schema, "", "  ")
	return string(text), err
}

func (q *queueClient) schemaVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions TOPIC", Short: "List the versions of a topic's schema", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []bus.TopicSchema
			if err := q.call(cmd.Context(), "GET", schemaPath(args[0])+"/versions", &all); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, all)
			}
			if len(all) == 0 {
				fmt.Fprintf(q.cli.out, "%s has no schema\n", args[0])
				return nil
			}
			t := table{head: []string{"VERSION", "REGISTERED", "BYTES"}}
			for _, s := range all {
				t.row(strconv.Itoa(s.Version.Version), s.At.Local().Format(time.DateTime), strconv.Itoa(len(s.Schema)))
			}
			t.write(q.cli.out)
			return nil
		},
	}
}

// readSchema reads a schema from a file, or from standard input where name is "-".
func (q *queueClient) readSchema(name string) ([]byte, error) {
	in := q.cli.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading the schema: %w", err)
		}
		defer f.Close() // nothing was written
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return text, nil
}

func (q *queueClient) checkSchema() *cobra.Command {
	return &cobra.Command{
		Use: "check TOPIC FILE", Short: "Say whether a schema could be the next one of a topic; the exit code is 1 if not", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := q.readSchema(args[1])
			if err != nil {
				return err
			}
			var answer bus.SchemaCheck
			if err := q.send(cmd.Context(), "POST", schemaPath(args[0])+"/check", text, &answer); err != nil {
				return err
			}
			switch {
			case q.cli.json:
				if err := writeJSON(q.cli.out, answer); err != nil {
					return err
				}
			case answer.Version == 0:
				fmt.Fprintf(q.cli.out, "it can be registered: %s has no schema yet\n", args[0])
			case answer.Compatible:
				fmt.Fprintf(q.cli.out, "it can be registered: it is compatible (%s) with version %d\n", answer.Compatibility, answer.Version)
			default:
				fmt.Fprintf(q.cli.out, "it is not compatible (%s) with version %d:\n", answer.Compatibility, answer.Version)
				for _, reason := range answer.Reasons {
					fmt.Fprintf(q.cli.out, "  %s\n", printable(reason, 300))
				}
			}
			if !answer.Compatible {
				return errNo
			}
			return nil
		},
	}
}

func (q *queueClient) registerSchema() *cobra.Command {
	return &cobra.Command{
		Use: "register TOPIC FILE", Short: "Make a schema the one that the events of a topic must have from now on", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := q.readSchema(args[1])
			if err != nil {
				return err
			}
			var s bus.TopicSchema
			if err := q.send(cmd.Context(), "PUT", schemaPath(args[0]), text, &s); err != nil {
				return err
			}
			if q.cli.json {
				return writeJSON(q.cli.out, s)
			}
			fmt.Fprintf(q.cli.out, "version %d of the schema of %s\n", s.Version.Version, args[0])
			return nil
		},
	}
}
