package linear

// Entry is one solver's row in the list.
type Entry struct {
	Name   string
	Source string
	// Example is the solver with settings that work on a matrix with eigenvalues between 0.1 and 1; its Class is the
	// largest class of matrices for which the method is meant.
	Example Solver
	// Needs is what the solver takes of a Matrix beside products; empty where products are all.
	Needs string
	// Products is the number of products with A that a solve costs, in words: those of the residual included, n is the
	// number of variables, a step is what Stats.Steps counts.
	Products string
	// Vectors is the number of vectors of n elements that are kept, right-hand side and solution included, in words.
	Vectors string
	// Error is what is left of |v - A⁻¹b| in exact arithmetic, κ being the ratio of largest and smallest eigenvalue.
	Error string
}

// Class is the largest class of matrices for which the method is meant.
func (e Entry) Class() Class { return e.Example.Class() }

// Costs in words that several solvers share.
const (
	everyStep = "1 a step, 2 more"
	residual1 = "1"
	shrinking = "2 ((√κ-1)/(√κ+1))^steps, relative in the energy norm"
	minimal   = "the least residual over the Krylov space; 0 after n steps"
)

// Solvers lists every solver.
func Solvers() []Entry {
	tolerance := 1e-4
	return []Entry{
		{"CG", "Hestenes, Stiefel 1952", CG{RTol: tolerance}, "", everyStep, "4", shrinking},
		{"CG, preconditioned", "Golub, Van Loan, Matrix Computations, 11.5",
			CG{RTol: tolerance, Preconditioner: Hutchinson{}},
			"the diagonal, with the preconditioner Given", "1 a step, 2 more, 1 a probe or n for the diagonal", "6",
			shrinking + ", κ that of the preconditioned matrix"},
		{"MINRES", "Paige, Saunders 1975", MINRES{RTol: tolerance}, "", everyStep, "6", minimal},
		{"GMRES", "Saad, Schultz 1986", GMRES{RTol: tolerance}, "", "1 a step, 1 a cycle, 1 more", "restart + 4",
			minimal + " without restarts"},
		{"BiCGSTAB", "van der Vorst 1992", BiCGSTAB{RTol: tolerance}, "", everyStep, "7",
			"no bound; 0 after 2n steps without a breakdown"},
		{"Neumann", "Lorraine, Vicol, Duvenaud, AISTATS 2020", Neumann{Step: 1, Terms: 10}, "", "1 a step, 1 more", "3",
			"(1-ημ)^(steps+1) |A⁻¹b|"},
		{"NeumannToBias", "Lorraine, Vicol, Duvenaud, AISTATS 2020", NeumannToBias{Bias: 0.1, Mu: 0.1},
			"the smallest eigenvalue: Mu, or Matrix.Modulus", "1 a step, 1 more, 20 where the largest is measured", "4",
			"at most Bias"},
		{"RandomNeumann", "Ghadimi, Wang, arXiv:1802.02246", RandomNeumann{Step: 1, Terms: 10}, "", "1 a step, 1 more",
			"3", "in the mean (1-ημ)^terms |A⁻¹b|, with a variance near (terms η|b|)²"},
		{"ScaledIdentity", "Luketina et al., ICML 2016; Fung et al., AAAI 2022", ScaledIdentity{}, "", residual1, "2",
			"|(I - γA⁻¹) b|/γ"},
		{"Nystrom", "Hataya, Yamada, AISTATS 2023", Nystrom{Rank: 4, Rho: 0.1}, "", "rank, 1 more", "rank + 2",
			"what the rank leaves out, and ρ"},
		{"WoodFisher", "Singh, Alistarh, NeurIPS 2020", WoodFisher{Damping: 0.1},
			"Matrix.Gradients, of single samples", residual1, "samples + 2 (full: n + 2, one-shot: 3)",
			"the Fisher matrix is not the Hessian"},
		{"LBFGSInverse", "Ramzi et al., ICLR 2022 (SHINE)", LBFGSInverse{},
			"Matrix.Pairs, of an inner solve by minimize.LBFGS", residual1, "2 memory + 2",
			"no bound without additional pairs (OPA)"},
		{"LBFGSInverse, refined", "Ramzi et al., ICLR 2022 (SHINE)", LBFGSInverse{Refine: 3},
			"Matrix.Pairs, of an inner solve by minimize.LBFGS", everyStep, "2 memory + 6", "that of CG from there"},
		{"SGD", "Arbel, Mairal, ICLR 2022; Dagréou et al., NeurIPS 2022", SGD{Step: 1, Steps: 10, Batch: 1},
			"Matrix.Sampled, with minibatches", "1 a step, 1 more", "3",
			"(1-ρμ)^steps of that at the start, and noise"},
		{"SGD, normal equations", "Arbel, Mairal, ICLR 2022", SGD{Step: 1, Steps: 10, Normal: true},
			"Matrix.Sampled, with minibatches", "2 a step, 1 more", "3",
			"(1-ρμ²)^steps of that at the start, and noise"},
		{"Dense", "Cholesky's factorization", Dense{}, "", "n, 1 more", "n + 2", "0"},
	}
}
