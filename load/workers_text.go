package load

import (
	"fmt"
	"strings"
	"time"
)

// workerLost stands in the place of a lost worker's figures.
const workerLost = "LOST"

// writeWorkers shows what each generator of a distributed run did.
func (r *Result) writeWorkers(b *strings.Builder) {
	if len(r.Workers) == 0 {
		return
	}
	b.WriteString("\n")
	t := table{left: 1, rows: r.workerRows()}
	t.write(b)
}

// workerRows is the table of workers, its head first.
func (r *Result) workerRows() [][]string {
	rows := [][]string{{"worker", "share", "requests", "rate", "p50", "p99", "errors", "CPU", "clock"}}
	for i := range r.Workers {
		w := &r.Workers[i]
		share := count(w.Due) + " due"
		if w.Users > 0 {
			share = count(w.Users) + " users"
		}
		row := []string{w.Address, share}
		if w.Total == nil {
			row = append(row, workerLost, "-", "-", "-", "-", "-")
		} else {
			cpu := "-"
			if r.Duration > 0 && w.Generator != nil {
				cpu = fmt.Sprintf("%.2f of %d", w.Generator.CPU.Seconds()/r.Duration.Seconds(), w.Generator.Cores)
			}
			row = append(row, count(w.Total.Requests), number3(w.Total.Rate)+"/s", brief(w.Total.Latency.QuantileDuration(0.5)),
				brief(w.Total.Latency.QuantileDuration(0.99)), percent(w.Total.ErrorRate()), cpu)
		}
		rows = append(rows, append(row, signed(w.Offset)+" ± "+brief(w.OffsetError)))
	}
	return rows
}

func signed(d time.Duration) string {
	if d < 0 {
		return "-" + brief(-d)
	}
	return "+" + brief(d)
}

// lossText says what is missing from the figures.
func (w *WorkerReport) lossText(of int) string {
	share := count(w.Due) + " scenarios that were due"
	if w.Users > 0 {
		share = count(w.Users) + " users"
	}
	return fmt.Sprintf("worker %s was lost %s into the run, when it had sent %s requests (%s): its share, %s, one of %d, is not in the figures",
		w.Address, brief(w.LostAt), count(w.LastSent), w.Lost, share, of)
}
