// Runs before anything is drawn, so that a theme that was chosen never flashes in the other one.
try {
  const chosen = localStorage.getItem('banyan-theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch { /* without storage the system's theme holds */ }
