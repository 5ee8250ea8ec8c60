//! The questions of the VQA challenge.

use equilibria_core::prelude::*;

use crate::data::{DataError, DataSet, Names, OsPath, Rules, SplitName, Table, Vqa};
use crate::model::DataSource;

plugin! {
    /// Questions about images, each answered by ten people: the files of VQA v2 in a folder.
    ///
    /// `v2_OpenEnded_mscoco_SPLIT_questions.json` and `v2_mscoco_SPLIT_annotations.json` for both splits. The first modality is the
    /// question, `words` numbers of words with 0 behind; the second the image, `regions` rows of features one after the other, of which rows
    /// of zeros are no regions. Features are in folders of one `.npz` file per image, named by the number of the image behind the last `_`, with an
    /// array `x` of features by regions, or in `.tsv` files with image_id, image_w, image_h, num_boxes, boxes and features in each line,
    /// the last two in base64. HDF5 with an index in a pickle becomes such files by
    /// `python -c "import h5py, pickle, numpy as n; f = h5py.File('train36.hdf5'); [n.savez(f'image_{i}.npz', x=f['image_features'][k].T) for i, k in pickle.load(open('train36_imgid2idx.pkl', 'rb')).items()]"`.
    ///
    /// `answer_dict.json` may list the answers that can be given, and `words.txt` the words, one per line, the n-th with the number n, among
    /// them `UNK` for all others. Without them, answers are those that are frequent, and words those of the questions to learn from, after
    /// `UNK`: a model that is to read other questions needs the same `words.txt`, and refuses another list. Nothing is scaled. All is held in memory, 8 bytes for each of words + regions · features numbers of a question: `limit`
    /// questions at most are read.
    ///
    /// Reference: Y. Goyal et al., Making the V in VQA Matter, CVPR 2017; P. Anderson et al., Bottom-Up and Top-Down Attention, CVPR 2018, for
    /// the regions.
    pub struct VqaSource: DataSource {
        /// The folder.
        pub path: OsPath = OsPath::from("."),
        /// What the names of the files call the questions to learn from.
        pub train: String = "train2014".to_owned(),
        /// What they call those of the final evaluation.
        pub test: String = "val2014".to_owned(),
        /// Folders of `.npz` files and `.tsv` files, in the folder.
        pub features: Vec<OsPath> = vec![OsPath::from(".")],
        /// The program by whose rules words and answers are read. `mcan`: answers of people are normalized as predictions are; those that are
        /// the most common one of more than `occurrences` questions of both splits can be given. `mutan`: answers are taken as they are; the `answers` most
        /// frequent ones to learn from can be given, and questions to learn from with another one are left out.
        pub rules: Rules = Rules::Mcan,
        /// Words that a question has room for; those behind are left out.
        pub words: usize = 14,
        /// Regions that an image has room for; those behind are left out, which the log says.
        pub regions: usize = 36,
        /// With the rules `mcan`, an answer can be given that is the most common one of more questions than so many.
        pub occurrences: usize = 8,
        /// With the rules `mutan`, so many answers can be given.
        pub answers: usize = 2000,
        /// Questions of each split that are read, the first ones; 0: all.
        pub limit: usize = 0,
    }
}

impl VqaSource {
    fn files(&self) -> Vqa {
        let path: &std::path::Path = self.path.as_ref();
        Vqa {
            folder: path.to_owned(),
            parts: [self.train.clone(), self.test.clone()],
            features: (self.features.iter())
                .map(|place| AsRef::<std::path::Path>::as_ref(place).to_owned())
                .collect(),
            rules: self.rules,
            words: self.words,
            regions: self.regions,
            occurrences: self.occurrences,
            answers: self.answers,
            limit: if self.limit == 0 {
                usize::MAX
            } else {
                self.limit
            },
        }
    }
}

#[typetag::serde(name = "vqa")]
impl DataSource for VqaSource {
    fn load(&self) -> Result<DataSet, DataError> {
        self.files().load()
    }

    fn features(&self, part: SplitName) -> Result<Vec<Table>, DataError> {
        match part {
            SplitName::Train => Ok(self.load()?.train.modalities),
            SplitName::Test => self.files().test_features(),
        }
    }

    fn names(&self) -> Result<Vec<Names>, DataError> {
        self.files().names()
    }

    fn scaled(&self) -> bool {
        false
    }
}
