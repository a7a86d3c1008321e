package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/spf13/cobra"

	"github.com/banyanhq/banyan/store"
)

// rangesFlags are what the commands take that look at how tables are spread.
type rangesFlags struct {
	at, usersFile, region string
	bucket                int
}

func (f *rangesFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.at, "at", "http://127.0.0.1:8000", "`URL` of a node of the cluster")
	cmd.Flags().StringVar(&f.usersFile, "users-file", "", "`file` with a user to sign as, where the tables check that")
	cmd.Flags().StringVar(&f.region, "region", "us-east-1", "region of the tables")
}

// signer signs as one of the users of the file; nil if there is no file.
func (f *rangesFlags) signer() (store.Signer, error) {
	if f.usersFile == "" {
		return nil, nil
	}
	users, err := readUsers(f.usersFile)
	if err != nil {
		return nil, err
	}
	var who aws.Credentials
	for who.AccessKeyID, who.SecretAccessKey = range users {
		break
	}
	return func(r *http.Request, body []byte) error {
		sum := sha256.Sum256(body)
		return v4.NewSigner().SignHTTP(r.Context(), who, r, hex.EncodeToString(sum[:]), "dynamodb", f.region, time.Now())
	}, nil
}

// describe asks a node how tables are spread, and with apply has it carry its plan out.
func (f *rangesFlags) describe(ctx context.Context, apply bool) (*store.Ranges, error) {
	sign, err := f.signer()
	if err != nil {
		return nil, err
	}
	return store.DescribeRanges(ctx, f.at, apply, sign)
}

func (c *cli) storePlan() *cobra.Command {
	var f rangesFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say how the rows of a cluster would best be split and led, and why",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.ranges(cmd, f, false) },
	}
	f.add(cmd)
	return cmd
}

func (c *cli) storeApply() *cobra.Command {
	f := rangesFlags{bucket: -1}
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Split, merge and move ranges of a cluster as its plan says",
		Long: `Split, merge and move ranges of a cluster as 'banyan store plan' says. Nodes do the same by themselves, unless they were started with
--manual-ranges. Merges and moves are for the node that leads the range: others say which that is.

With --split-at N the range that has bucket N is split so that a new one begins with it; the plan is left alone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("split-at") {
				return c.ranges(cmd, f, true)
			}
			sign, err := f.signer()
			if err != nil {
				return err
			}
			r, err := store.SplitRange(cmd.Context(), f.at, f.bucket, sign)
			if err != nil {
				return err
			}
			return c.printRanges(r)
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&f.bucket, "split-at", -1, "`bucket` that is to begin a new range")
	return cmd
}

func (c *cli) ranges(cmd *cobra.Command, f rangesFlags, apply bool) error {
	r, err := f.describe(cmd.Context(), apply)
	if err != nil {
		return err
	}
	return c.printRanges(r)
}

func (c *cli) printRanges(r *store.Ranges) error {
	if c.json {
		return writeJSON(c.out, r)
	}
	for _, a := range r.Done {
		fmt.Fprintln(c.out, "done:", a)
	}
	for _, why := range r.Failed {
		fmt.Fprintln(c.out, "not done:", why)
	}
	if err := c.printLoads(r); err != nil {
		return err
	}
	if len(r.Plan) == 0 {
		fmt.Fprintln(c.out, "plan: nothing to do")
	}
	for _, a := range r.Plan {
		fmt.Fprintln(c.out, "plan:", a)
	}
	return nil
}

func (c *cli) printLoads(r *store.Ranges) error {
	w := tabwriter.NewWriter(c.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "GROUP\tBUCKETS\tLEADER\tWRITES/S\tREADS/S ON NODE %d\tMIB\n", r.Node)
	for _, l := range r.Ranges {
		buckets := fmt.Sprintf("%d-%d", l.First, l.Last)
		if l.First < 0 {
			buckets = "descriptions"
			if l.Last >= 0 {
				buckets = fmt.Sprintf("descriptions, 0-%d", l.Last)
			}
		}
		fmt.Fprintf(w, "%d\t%s\tnode %d\t%.0f\t%.0f\t%.1f\n", l.Group, buckets, l.Leader, l.Writes, l.Reads, float64(l.Bytes)/(1<<20))
	}
	return w.Flush()
}

func (c *cli) storeHot() *cobra.Command {
	var f rangesFlags
	cmd := &cobra.Command{
		Use:   "hot",
		Short: "Show which ranges and partition keys of a cluster are asked for most",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.describe(cmd.Context(), false)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(c.out, r)
			}
			if err := c.printLoads(r); err != nil {
				return err
			}
			for _, k := range r.Keys {
				fmt.Fprintf(c.out, "%5.1f%%  %s\n", 100*k.Share, k.Key)
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
