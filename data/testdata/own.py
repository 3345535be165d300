# Writes the files of own/ with NumPy, pandas and scikit-learn, as people write theirs, and own.json: what should be
# read.
# The classes are those of numpy.unique, so that they do not come from the code that is tested. Run by hand:
#   python3 own.py        (NumPy 2.4.6, pandas 3.1.1, scikit-learn 1.9.1)
import json
import os
import shutil

import numpy as np
import pandas as pd
from sklearn.datasets import dump_svmlight_file
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, OneHotEncoder

os.chdir(os.path.dirname(os.path.abspath(__file__)))
shutil.rmtree('own', ignore_errors=True)
os.mkdir('own')

k = np.array([2, 0, 1, 1, 0, 2])
words = np.array(['setosa', 'versicolor', 'virginica'])[k]
series = pd.Series(words)
x = np.arange(12, dtype='f4').reshape(6, 2) / 4
cases = []


def case(name, y, classes=None, refused='', then=None, labels=k):
    """Saves labels y; where they are refused, also what the advice makes of them."""
    np.save(f'own/{name}.npy', y)
    good = y if then is None else then
    if then is not None:
        np.save(f'own/{name}-then.npy', then)
    if classes is None:
        classes, labels = np.unique(good, return_inverse=True)
    cases.append(dict(name=name, refused=refused, names=[str(c) for c in classes], labels=labels.reshape(-1).tolist()))


for t in ['int8', 'uint8', 'int16', '>i4', 'uint32', 'int64']:
    case(t.replace('>', 'big-'), k.astype(t))
case('uint64', k.astype('u8') + np.uint64(2**63))
case('negative', k - 1)
case('gaps', np.array([3, 900000, -5])[k])
case('minus-one-and-one', np.where(k == 0, -1, 1))
for t in ['float16', 'float32', 'float64', '>f8']:
    case(t.replace('>', 'big-'), k.astype(t), ['0', '1', '2'])
case('bool', k == 0)
case('column', k.reshape(-1, 1))
case('row', k.reshape(1, -1))
case('words', words)
case('words-big', words.astype(words.dtype.newbyteorder('>')), ['setosa', 'versicolor', 'virginica'])
case('bytes', words.astype('S'), ['setosa', 'versicolor', 'virginica'])
case('number-words', np.array(['9', '10', '-1'])[k], ['-1', '9', '10'], labels=np.array([1, 2,
     0])[k])  # sorted as numbers
for name, y in {
    'one-hot': np.eye(3, dtype='i4')[k], 'one-hot-bool': np.eye(3, dtype=bool)[k],
    'one-hot-fortran': np.asfortranarray(np.eye(3)[k]), 'get-dummies': pd.get_dummies(series).to_numpy(),
    'one-hot-encoder': OneHotEncoder(sparse_output=False).fit_transform(words[:, None]),
    'label-binarizer': LabelBinarizer().fit_transform(words),
}.items():
    case(name, y, ['0', '1', '2'])
case('label-binarizer-two', LabelBinarizer().fit_transform(k == 0))
case('label-encoder', LabelEncoder().fit_transform(words))
case('category-codes', series.astype('category').cat.codes.to_numpy())
case('nullable-integers', pd.Series(k).astype('Int64').to_numpy())
advice = 'a.astype(str)'
case('objects', words.astype(object), refused=advice, then=words.astype(object).astype(str))
case('object-integers', k.astype(object), ['0', '1', '2'], refused=advice, then=k.astype(object).astype(str))
case('series', series.to_numpy(), refused=advice, then=series.to_numpy().astype(str))
case('category', series.astype('category').to_numpy(), refused=advice,
     then=series.astype('category').to_numpy().astype(str))
dates = np.array(['2020-01-01', '2021-01-01', '2022-01-01'], 'M8[D]')[k]
case('dates', dates, refused=advice, then=dates.astype(str))
case('long-double', k.astype('longdouble'), ['0', '1', '2'], refused="a.astype('<f8')", then=k.astype('<f8'))
case('complex', k.astype('c8'), ['0', '1', '2'], refused='a.real', then=k.astype('c8').real)
records = pd.DataFrame({'y': k}).to_records()
case('records', records, refused="a['NAME']", then=records['y'])
half = k + 0.5
case('fractions', half, ['0', '1', '2'], refused='numpy.unique(y, return_inverse=True)[1]', then=np.unique(half,
     return_inverse=True)[1])
scores = np.array([[.7, .2, .1], [.1, .8, .1], [.1, .1, .8]])[k]
case('scores', scores, refused='y.argmax(1)', then=scores.argmax(1))
two = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])[k]
case('two-ones', two, refused='y[:, k]', then=two[:, 0])

frame = pd.DataFrame(x, columns=['a', 'b'])
frame['label'] = words
frame.to_csv('own/plain.csv', index=False)
frame.to_csv('own/index.csv')
frame.to_csv('own/tabs.tsv', index=False, sep='\t')
frame.to_csv('own/semicolons.csv', index=False, sep=';')
frame.to_csv('own/bom.csv', index=False, encoding='utf-8-sig')
frame.to_csv('own/packed.csv.gz', index=False)
frame.to_csv('own/packed.csv.bz2', index=False)
frame.to_csv('own/quoted.csv', index=False, quoting=1)
frame[['label', 'b', 'a']].to_csv('own/other-order.csv', index=False)
pd.get_dummies(frame, columns=['label']).to_csv('own/one-hot.csv', index=False)
pd.DataFrame(np.column_stack([x, k])).to_csv('own/counted.csv', index=False)
np.savetxt('own/no-header.csv', np.column_stack([x, k]), delimiter=',', fmt='%g')
np.savez('own/named.npz', x_train=x, y_train=words, x_test=x[:2], y_test=words[:2])
np.savez('own/positional.npz', x, k)
np.savez_compressed('own/packed.npz', images=x, labels=np.eye(3)[k])
dump_svmlight_file(x, k, 'own/zero.libsvm')
dump_svmlight_file(x, k - 1.0, 'own/one.libsvm', zero_based=False, comment='of a test')
with open('own/own.json', 'w') as f:
    f.write('[\n' + ',\n'.join(json.dumps(c) for c in cases) + '\n]\n')
