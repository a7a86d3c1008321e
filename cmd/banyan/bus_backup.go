package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/bus"
	"github.com/banyanhq/banyan/bus/backup"
	"github.com/banyanhq/banyan/topology"
)

func (c *cli) busBackup() *cobra.Command {
	q := &queueClient{cli: c}
	var streams []string
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Copy queues and topics with the positions of their consumers into a file, while they are used",
		Long: `Copy queues and topics with the positions of their consumers, and the topics' schemas, from the system that runs here, or from a
'banyan bus' at --url, into a file. The queues are those of one instant, each topic is that of an instant of its own. The file has
checksums; it is there under its name only when it is whole and was read again. Runs of sagas are not in it.`,
		Example: `  banyan bus backup bus.backup
  banyan bus backup orders.backup --stream payments --stream order-placed`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			head, sum, size, err := q.backup(cmd.Context(), args[0], streams)
			if err != nil {
				return err
			}
			return c.sayBackup(args[0], head, sum, size)
		},
	}
	cmd.Flags().StringArrayVar(&streams, "stream", nil, "only this queue or topic, by its `name`; may be repeated")
	q.add(cmd.Flags())
	return cmd
}

// backup downloads a backup beside its place, reads it again, and puts it there.
func (q *queueClient) backup(ctx context.Context, path string, streams []string) (head bus.BackupHead, sum bus.BackupSum, size int64, err error) {
	r, err := q.request(ctx, http.MethodGet, "/backup?"+url.Values{"stream": streams}.Encode(), nil)
	if err != nil {
		return head, sum, 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return head, sum, 0, fmt.Errorf("asking the bus: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
		return head, sum, 0, busError(answer.Status, text)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return head, sum, 0, fmt.Errorf("writing the backup: %w", err)
	}
	defer os.Remove(f.Name()) // of one that was put in its place there is nothing any more
	defer f.Close()
	if size, err = io.Copy(f, answer.Body); err != nil {
		return head, sum, size, fmt.Errorf("copying the backup after %d bytes: %w", size, err)
	}
	if err := f.Sync(); err != nil {
		return head, sum, size, fmt.Errorf("writing the backup: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return head, sum, size, fmt.Errorf("reading the backup again: %w", err)
	}
	if head, sum, err = bus.CheckBackup(f); err != nil {
		return head, sum, size, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return head, sum, size, fmt.Errorf("putting the backup in its place: %w", err)
	}
	return head, sum, size, nil
}

func (c *cli) busRestore() *cobra.Command {
	var dir string
	var check bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make the folder of a bus from a backup, or only check it",
		Long: `Make the folder of a bus from a backup. It must not be there, or be empty; a bus or a system is started on it afterwards:
--dir of 'banyan bus', or .banyan/data/bus beside the file of 'banyan up'. The backup is checked whole before anything is made of it,
and the folder is there only when all of it is restored.`,
		Example: `  banyan bus restore bus.backup --dir restored
  banyan bus restore bus.backup --check`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (dir == "") == !check {
				return usagef("say where to with --dir, or --check to only look at the file")
			}
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("opening the backup: %w", err)
			}
			defer f.Close() // nothing was written
			info, err := f.Stat()
			if err != nil {
				return fmt.Errorf("opening the backup: %w", err)
			}
			var head bus.BackupHead
			var sum bus.BackupSum
			if check {
				head, sum, err = bus.CheckBackup(f)
			} else {
				head, sum, err = bus.Restore(cmd.Context(), f, filepath.Clean(dir))
			}
			if errors.Is(err, backup.ErrDamaged) {
				return fmt.Errorf("%s: %w; nothing was restored", args[0], err)
			}
			if err != nil {
				return fmt.Errorf("restoring %s: %w", args[0], err)
			}
			if err := c.sayBackup(args[0], head, sum, info.Size()); err != nil || check || c.json {
				return err
			}
			fmt.Fprintf(c.out, "restored into %s\n", dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the `folder` to be made")
	cmd.Flags().BoolVar(&check, "check", false, "only check that the backup is whole, and say what is in it")
	return cmd
}

func (c *cli) sayBackup(path string, head bus.BackupHead, sum bus.BackupSum, size int64) error {
	if c.json {
		return writeJSON(c.out, struct {
			File string `json:"file"`
			Size int64  `json:"bytes"`
			bus.BackupHead
			bus.BackupSum
		}{path, size, head, sum})
	}
	names := func(what string, all []string) string {
		if len(all) == 0 {
			return "no " + what
		}
		return what + " " + strings.Join(all, ", ")
	}
	fmt.Fprintf(c.out, "%s is whole: %s, of %s\n", path, topology.Bytes(size), head.Created.Local().Format(time.DateTime))
	fmt.Fprintf(c.out, "%s (%d records of their journal); %s (%d events, %d consumers)\n", names("queues", head.Queues), sum.Records,
		names("topics", head.Topics), sum.Events, sum.Consumers)
	return nil
}
