package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/seed-95a32959/holdfast"

// A bug that is planted in a package of which no test is run here may be missed
// by the simulation alone.
func TestEveryPackageWithAPlantedBugIsTested(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{.Imports}}", module+"/...")
	out, err := cmd.Output()
	require.NoError(t, err)
	planted := 0
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(line, " ")
		name := "." + strings.TrimPrefix(path, module)
		if name == "./test/selftest" || !strings.Contains(imports, module+"/internal/planted") {
			continue
		}
		planted++
		require.Contains(t, packages, name)
	}
	require.Positive(t, planted)
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ output, test, complaint string }{
		{"ok\nPASS\n", "", ""},
		{"    --- FAIL: TestChaos/1 (1.00s)\n        x.go:1: broken: a | b:\n--- FAIL: TestChaos (1.00s)\n", "TestChaos/1", "a / b"},
		{"--- FAIL: TestX (0.00s)\n\tError:  \tShould be\n\t\t  \tfalse\n\tTest:  \tTestX\n", "TestX", "Should be false"},
	} {
		test, complaint := read(c.output)
		require.Equal(t, c.test, test)
		require.Equal(t, c.complaint, complaint)
	}
}
