// Package importcheck holds the direction of imports between the packages of
// this module: its test lists them and refuses an import that points up, a
// package that no rule speaks of, and a rule that allows what nobody imports.
package importcheck
