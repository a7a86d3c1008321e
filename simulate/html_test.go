package simulate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestReportIsOnePageOfWellFormedPlots(t *testing.T) {
	sys, o := stormy()
	o.Trace = 3
	for _, r := range []*Result{simulate(t, sys, o), simulate(t, blockySystem(), Options{Seed: 1, Replications: 1, Warmup: -1, Duration: 3 * time.Second}), {System: "<empty>"}} {
		var b bytes.Buffer
		if err := r.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if strings.Contains(page, "NaN") || strings.Contains(page, "<empty>") || strings.Contains(page, "http") {
			t.Errorf("not a number, a name that was not escaped or an address in %.500s", page)
		}
		plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
		if len(r.Timeline) > 1 && len(plots) < 4 {
			t.Errorf("%d plots", len(plots))
		}
		for _, svg := range plots {
			for d := xml.NewDecoder(strings.NewReader(svg)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in %.200s", err, svg)
				}
			}
		}
	}
}
