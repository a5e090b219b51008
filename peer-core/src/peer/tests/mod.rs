mod anything;
mod contract;
mod data;
mod hostile;
mod lab;
mod life;
mod recorded;
mod size;
