package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A bug that is planted in a package of which no test is run here may be missed
// by the simulation alone.
func TestEveryPackageWithAPlantedBugIsTested(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("planted.Is(")) {
			return err
		}
		found++
		folder, err := filepath.Rel(root, filepath.Dir(path))
		require.Contains(t, packages, "./"+filepath.ToSlash(folder), path)
		return err
	}))
	require.Positive(t, found)
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ output, test, complaint string }{
		{"ok\nPASS\n", "", ""},
		{"    --- FAIL: TestChaos/1 (1.00s)\n        x.go:1: broken: a | b:\n--- FAIL: TestChaos (1.00s)\n", "TestChaos/1", "a / b"},
		{"--- FAIL: TestX (0.00s)\n\tError:  \tShould be\n\t\t  \tfalse\n\tTest:  \tTestX\n", "TestX", "Should be false"},
		{"=== RUN   TestY\npanic: test timed out after 20m0s\n\trunning tests:\n\t\tTestY (19m1s)\n\t\tTestZ (2s)\n\ngoroutine 1 [running]:\nTestIt (x)\n", "TestY", "has not ended"},
	} {
		test, complaint := read(c.output)
		require.Equal(t, c.test, test)
		require.Equal(t, c.complaint, complaint)
	}
}
