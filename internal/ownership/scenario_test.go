package ownership_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/ownership/explore"
	"github.com/seed-95a32959/holdfast/internal/planted"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the answers in testdata/*.txt")

// TestScenarios plays the scenarios in testdata/*.txt and compares the answers.
// [explore.Play] says what is in such a file. Read them by eye: the comment at
// the top says what is shown.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(scenario(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			got := explore.Play(string(text))
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(text), got, "go test -rewrite rewrites the answers; read the difference first")
		})
	}
}

func scenario(file string) string { return strings.TrimSuffix(filepath.Base(file), ".txt") }

// caughtBy says for each bug of package planted that lives in this package
// which scenarios are about it. Others may catch it too.
var caughtBy = map[planted.Bug][]string{
	planted.ExpiredLease:    {"frozen-owner", "cut-majority"},
	planted.LeaseByOne:      {"two-frozen"},
	planted.LeaseDespite:    {"frozen-during-claim"},
	planted.LeasedElsewhere: {"leased-elsewhere"},
	planted.NoEpoch:         {"two-claims", "heal", "tables"},
	planted.AliveIgnored:    {"claim-refused", "cut-link"},
	planted.UnaskedIgnored:  {"unasked", "promise-lapses"},
	planted.UnsureForgotten: {"joined-behind-a-cut"},
	planted.BehindUnsaid:    {"behind"},
	planted.ServesOn:        {"join", "drain"},
	planted.OldRoster:       {"roster-behind-a-cut"},
	planted.NotGivenBack:    {"busy"},
	planted.ConfirmedLate:   {"confirmed-late"},
}

// TestEveryBugHasAScenario looks through the source for bugs that the table
// does not name.
func TestEveryBugHasAScenario(t *testing.T) {
	bug := regexp.MustCompile(`planted\.Is\(planted\.(\w+)\)`)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	table, err := os.ReadFile("scenario_test.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range bug.FindAllSubmatch(text, -1) {
			require.Contains(t, string(table), "planted."+string(m[1])+":", "%s has a bug that no scenario is about", file)
		}
	}
}

// TestScenariosCatchBugs plants each bug and plays the scenarios that are about
// it, each of which must fail.
func TestScenariosCatchBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the tests anew")
	}
	binary := filepath.Join(t.TempDir(), "planted.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "planted", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for bug, scenarios := range caughtBy {
		for _, name := range scenarios {
			t.Run(string(bug)+"/"+name, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestScenarios$/^"+name+"$")
				cmd.Env = append(os.Environ(), "HOLDFAST_PLANTED="+string(bug))
				out, err := cmd.CombinedOutput()
				require.Error(t, err)
				require.Contains(t, string(out), "--- FAIL: TestScenarios/"+name)
			})
		}
	}
}
